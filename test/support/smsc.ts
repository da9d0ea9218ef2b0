/** An SMSC as the gateway sees it: another process, which can be killed, started again and told to misbehave. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

const SCRIPT = join(__dirname, 'smscProcess.js');
const PATIENCE_MS = 240_000;

/** What the SMSC saw: `bind`, `submit`, `enquired`, `enquiry-answered`, `deliver-answered`, `unbound`, … */
export type Seen = { readonly event: string } & Readonly<Record<string, unknown>>;

export interface Behaviour {
  readonly password?: string;
  readonly silent?: readonly string[];
  /** Status of submit_sm_resp; 0: taken. */
  readonly refuse?: number;
}

const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

export class Smsc {
  readonly seen: Seen[] = [];
  private waiting: (() => void)[] = [];

  private constructor(private readonly child: ChildProcess) {
    living.add(child);
    child.once('close', () => living.delete(child));
    child.on('message', (seen) => {
      this.seen.push(seen as Seen);
      for (const wake of this.waiting.splice(0)) wake();
    });
  }

  static async start(port = 0): Promise<Smsc> {
    const smsc = new Smsc(fork(SCRIPT, [String(port)]));
    await smsc.saw('listening');
    return smsc;
  }

  get port(): number {
    return this.seen[0]!['port'] as number;
  }

  all(event: string): Seen[] {
    return this.seen.filter((one) => one.event === event);
  }

  /** The first of these, past or future, that passes. */
  async saw(event: string, match: (one: Seen) => boolean = () => true): Promise<Seen> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = this.all(event).find(match);
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`the SMSC saw no such ${event}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  behave(behaviour: Behaviour): void {
    this.child.send({ order: 'behave', behaviour });
  }

  /** A deliver_sm on every session. */
  deliver(fields: Record<string, unknown>): void {
    this.child.send({ order: 'deliver', fields });
  }

  order(order: 'enquire' | 'unbind' | 'garbage' | 'hangUp'): void {
    this.child.send({ order });
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}
