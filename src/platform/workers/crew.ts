/**
 * Worker processes behind one port, as the primary process sees them: started, listened to, replaced when they die.
 *
 * All of them accept on the same socket, which the primary holds open: a worker that dies takes its own connections
 * with it and no others. A member goes from hired (started, not heard of) to ready; from either it may be gone, and
 * where it was not sent away another takes its place.
 */
import cluster, { type Worker } from 'node:cluster';
import type { Open } from '../gate';
import type { Site } from '../site';
import { Census } from './census';
import { LineRelay } from './lineRelay';
import { COUNT_INTERVAL, type Counts, type FromPrimary, type FromWorker } from './messages';
import { elsewhereOf } from './elsewhere';

export interface CrewOptions {
  readonly site: Site;
  readonly databaseUrl: string;
  /** Takes whole log lines. */
  readonly relay: (lines: Buffer) => void;
  /** A text for somebody has been committed to the outbox. */
  readonly texted: () => void;
}

interface Member {
  readonly worker: Worker;
  readonly hiredAt: number;
  /** Whether it asks for the port that was found to be free, where any free one was asked for at first. */
  readonly byNumber: boolean;
  ready: Extract<FromWorker, { kind: 'ready' }> | undefined;
  why: string | undefined;
  counts: Counts;
  /** What it was told of the others. */
  told: string;
  /** Our looks at it since it was last heard of. */
  silence: number;
}

/** Milliseconds that a worker must have lived for another to take its place at once. */
const SETTLED = 10_000;
/** Milliseconds between two tries to replace one that died early. */
const PAUSE = 1_000;
/**
 * Seconds in which a worker that serves must be heard of. Counted in looks of ours: where all of us stood still, the
 * machine did.
 */
const HUNG = 60;
const LOOKS_UNTIL_HUNG = (HUNG * 1000) / COUNT_INTERVAL;
/** Seconds beyond the drain and a hanging database after which a worker is not waited for. */
const PATIENCE = 10;

export class Crew {
  private readonly members = new Map<number, Member>();
  private readonly census: Census;
  private counting: NodeJS.Timeout | undefined;
  private opened: Open | undefined;
  private stopping = false;

  constructor(private readonly options: CrewOptions) {
    this.census = new Census(options.site.metrics.registry, (id) => this.tell(id, { kind: 'collect' }));
  }

  /** Workers that serve terminals now. */
  get size(): number {
    return this.ready().length;
  }

  /** Connections that all of them together can serve. */
  get room(): number {
    return this.ready().reduce((sum, { ready }) => sum + (ready?.room ?? 0), 0);
  }

  /** In the exposition format of Prometheus, of all processes. */
  exposition(): Promise<string> {
    return this.census.exposition(this.ready().map(({ worker }) => worker.id));
  }

  /** Starts all of them. Throws where one of them cannot start. */
  async open(): Promise<Open> {
    if (this.stopping) throw new Error('it was ended before it was started');
    // Each worker takes connections off the socket itself: handed over one by one they would cost more than a login.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({ silent: true });
    const wanted = Array.from({ length: this.options.site.settings.workers }, () => this.hire());
    const [open] = await Promise.all(wanted);
    if (open === undefined) throw new RangeError('M2M_WORKERS: none');
    this.opened = open;
    this.counting = setInterval(() => {
      this.endHung();
      this.spreadCounts();
    }, COUNT_INTERVAL).unref();
    return open;
  }

  /** Has all of them send their terminals away, and waits for them to end. */
  async drain(): Promise<void> {
    this.stopping = true;
    const { drain, databaseTimeout } = this.options.site.settings;
    const late = setTimeout(() => this.giveUp(), (drain + databaseTimeout + PATIENCE) * 1000);
    await Promise.all([...this.members.values()].map((member) => this.sendAway(member)));
    clearTimeout(late);
  }

  close(): void {
    this.stopping = true;
    clearInterval(this.counting);
    for (const { worker } of this.members.values()) worker.process.kill('SIGKILL');
  }

  private giveUp(): void {
    for (const { worker, counts } of this.members.values())
      this.options.site.log.event('worker-lost', {
        message: `worker ${worker.process.pid} does not end, and is killed with ${counts.connections} connections`,
        level: 'error',
        outcome: 'failure',
        count: counts.connections,
      });
    this.close();
  }

  private ready(): Member[] {
    return [...this.members.values()].filter(({ ready }) => ready !== undefined);
  }

  private tell(id: number, message: FromPrimary): void {
    const worker = this.members.get(id)?.worker;
    // One that is just dying is heard of by its exit.
    if (worker?.isConnected()) worker.send(message, () => undefined);
  }

  /** Resolves when the worker serves terminals. Throws where it ends before. */
  private hire(): Promise<Open> {
    const { databaseUrl } = this.options;
    const byNumber = this.opened !== undefined && (this.ready()[0]?.byNumber ?? true);
    const worker = cluster.fork({ DATABASE_URL: databaseUrl, ...(byNumber && this.ports()) });
    const member: Member = {
      worker,
      hiredAt: performance.now(),
      byNumber,
      ready: undefined,
      why: undefined,
      counts: { connections: 0, newcomers: [] },
      told: '',
      silence: 0,
    };
    this.members.set(worker.id, member);
    const relay = new LineRelay(this.options.relay);
    worker.process.stdout?.on('data', (chunk: Buffer) => relay.push(chunk));
    worker.process.stderr?.on('data', (chunk: Buffer) => process.stderr.write(chunk));
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.kind === 'ready' && this.isElsewhere(message.open)) {
          member.why = 'it was given another port';
          return worker.process.kill('SIGKILL');
        }
        this.heard(member, message);
        if (message.kind === 'ready') resolve(message.open);
      });
      worker.on('error', (error) => {
        // No process came of it (EMFILE, EAGAIN), so none will exit.
        if (worker.process.pid === undefined) this.neverCame(member);
        reject(error);
      });
      worker.once('exit', (code, signal) => {
        reject(
          new Error(member.why ?? `a worker ended before it was ready (${signal || `exit code ${code}`})`),
        );
        this.gone(member, member.why ?? (signal || `exit code ${code}`));
      });
    });
  }

  /**
   * Workers share the socket that they ask for in the same words. Only where nobody holds it any more must the port that
   * was found to be free be asked for by its number.
   */
  private ports(): Record<string, string> {
    if (this.opened === undefined) return {};
    const { listen, tlsListen } = this.opened;
    return { M2M_LISTEN: listen, ...(tlsListen !== undefined && { M2M_TLS_LISTEN: tlsListen }) };
  }

  /** The last holder of the socket may die between a worker's hire and its asking: it is then given another port. */
  private isElsewhere({ listen, tlsListen }: Open): boolean {
    const { opened } = this;
    return opened !== undefined && (listen !== opened.listen || tlsListen !== opened.tlsListen);
  }

  private heard(member: Member, message: FromWorker): void {
    const { id } = member.worker;
    member.silence = 0;
    if (message.kind === 'ready') {
      member.ready = message;
      if (this.stopping) this.tell(id, { kind: 'stop' });
    }
    if (message.kind === 'renumbered' && member.ready !== undefined)
      member.ready = { ...member.ready, instance: message.instance };
    if (message.kind === 'failed') member.why = message.why;
    if (message.kind === 'texted') this.options.texted();
    if (message.kind === 'count') member.counts = message;
    // What a worker said last may be heard after its end, when it is counted already.
    if (message.kind === 'metrics' && this.members.has(id)) this.census.answered(id, message.metrics);
  }

  private neverCame({ worker }: Member): void {
    this.members.delete(worker.id);
    this.census.gone(worker.id);
  }

  private gone(member: Member, how: string): void {
    this.members.delete(member.worker.id);
    this.census.gone(member.worker.id);
    const { ready, worker, hiredAt } = member;
    if (ready === undefined) return;
    const { store, metrics, log } = this.options.site;
    if (this.stopping) return;
    store.bury(ready.instance);
    metrics.workersLost.inc();
    log.event('worker-lost', {
      message: `worker ${worker.process.pid} ended (${how}) with ${member.counts.connections} connections; another takes its place`,
      level: 'error',
      outcome: 'failure',
      detail: how,
      count: member.counts.connections,
    });
    void this.replace(performance.now() - hiredAt >= SETTLED ? 0 : PAUSE);
  }

  private async replace(wait: number): Promise<void> {
    const { log } = this.options.site;
    for (let pause = wait; !this.stopping; pause = PAUSE) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.stopping) return;
      try {
        await this.hire();
        return log.event('worker-started', { message: 'a worker took the place of the one that was lost' });
      } catch (error) {
        log.event('worker-lost', {
          message: `a worker could not be replaced: ${(error as Error).message}`,
          level: 'error',
          outcome: 'failure',
        });
      }
    }
  }

  private sendAway({ worker, ready }: Member): Promise<void> {
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    if (ready !== undefined) this.tell(worker.id, { kind: 'stop' });
    return gone;
  }

  /** Its terminals get no answer, and do not know that they had better come anew. */
  private endHung(): void {
    if (this.stopping) return;
    for (const member of this.ready()) {
      if (++member.silence !== LOOKS_UNTIL_HUNG) continue;
      member.why = `killed: it had not been heard of for ${HUNG} s`;
      member.worker.process.kill('SIGKILL');
    }
  }

  private spreadCounts(): void {
    const members = this.ready();
    const elsewhere = elsewhereOf(members.map(({ counts }) => counts));
    members.forEach((member, index) => {
      const others = elsewhere[index] as Counts;
      const told = JSON.stringify(others);
      if (told === member.told) return;
      member.told = told;
      this.tell(member.worker.id, { kind: 'elsewhere', ...others });
    });
  }
}
