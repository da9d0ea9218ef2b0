/** Puts a plan of `m2m bench` on generator threads, and measures. */
import { randomInt } from 'node:crypto';
import { arrivalsBefore, slices } from '../../terminal/load/arrivals';
import { clock } from '../../terminal/load/clock';
import { Fleet } from '../../terminal/load/fleet';
import type { Target } from '../../terminal/load/link';
import { loginsAllowed, type RunPlan, type ThreadPlan } from '../../terminal/load/plan';
import { canChooseSource } from '../../terminal/load/sources';
import type { Tally } from '../../terminal/load/tally';
import { failed } from '../errors';
import { ProgressBar } from '../progress';
import { roomForConnections } from './machine';
import type { BenchPlan } from './options';
import { loginRow } from './results';

/** Milliseconds until all threads have heard of a run. */
const SOON = 100;
/**
 * Logins/s of a thread for which a closed loop signs frames beforehand; beyond that it signs as it goes, and what that
 * costs is missing elsewhere on the same machine.
 */
const SIGNED_FOR = { new: 20_000, persistent: 50_000 };
/** Bytes of memory for signed frames, and of one frame at most. */
const FRAME_MEMORY = 512 * 1024 * 1024;
const FRAME_SIZE = 200;
/** Logins under way while terminals of standing connections come in. */
const SETUP_CONCURRENCY = 64;
/** Terminals come back out of turn, so that some log in once more than others. */
const SPARE_ROUNDS = 1;

/** One row to be. */
export interface Measured {
  readonly tally: Tally;
  /** Since when it counts, on clock.ts. */
  readonly from: number;
  readonly rate: number | undefined;
}

export class Load {
  private readonly fleet: Fleet;
  private readonly beaters: Fleet | undefined;
  private readonly parts: readonly { first: number; count: number }[];
  private readonly progress: SharedArrayBuffer;
  private beating: Promise<Tally> | undefined;

  /** @param onCounting told when a row begins to count */
  constructor(
    private readonly plan: BenchPlan,
    target: Target,
    private readonly onCounting: () => void,
  ) {
    this.parts = slices(plan.terminals, plan.threads);
    this.progress = new SharedArrayBuffer(4 * (plan.threads + 1));
    const base = this.threadPlans(target);
    this.fleet = new Fleet(base);
    this.beaters = plan.beating > 0 ? new Fleet([this.beaterPlan(base[0] as ThreadPlan)]) : undefined;
  }

  /** Everything before the clock starts: heartbeats begin, standing connections log in. */
  async prepare(): Promise<void> {
    if (this.beaters !== undefined) {
      await this.beaters.fill(1);
      await this.bringIn(this.beaters, () => this.plan.beating, 'heartbeats');
      const startAt = clock() + SOON;
      this.beating = this.beaters.run(() => ({
        kind: 'beats',
        startAt,
        measureFrom: startAt,
        every: this.plan.beatEvery * 1000,
      }));
      this.beating.catch(() => undefined);
    }
    if (this.plan.shape === 'storm' || this.plan.connections === 'new') return;
    await this.fleet.fill(1);
    await this.bringIn(this.fleet, (thread) => this.parts[thread]?.count ?? 0, 'connecting');
  }

  /** A closed or an open loop. */
  async steady(): Promise<Measured> {
    const { loop, rate = 0, warmUp, seconds, logins } = this.plan;
    if (loop === 'open') return this.open(rate, warmUp, seconds ?? (logins ?? 0) / rate);
    const { threads, concurrency, connections } = this.plan;
    const budget = logins ?? ((seconds ?? 0) + warmUp) * SIGNED_FOR[connections] * threads;
    await this.fill(budget);
    const startAt = clock() + SOON;
    const measureFrom = startAt + warmUp * 1000;
    const endAt = seconds === undefined ? undefined : measureFrom + seconds * 1000;
    const shares = slices(concurrency, threads);
    const parts = logins === undefined ? undefined : slices(logins, threads);
    this.tellAt(measureFrom);
    const tally = await this.watched(startAt, endAt, logins, (thread) => ({
      kind: 'closed',
      startAt,
      measureFrom,
      endAt,
      concurrency: shares[thread]?.count ?? 0,
      logins: parts?.[thread]?.count,
    }));
    return { tally, from: measureFrom, rate: undefined };
  }

  /** @param rate of all threads */
  async open(rate: number, warmUp: number, seconds: number): Promise<Measured> {
    await this.fill(rate * (warmUp + seconds));
    const startAt = clock() + SOON;
    const measureFrom = startAt + warmUp * 1000;
    const endAt = measureFrom + seconds * 1000;
    this.tellAt(measureFrom);
    const tally = await this.watched(startAt, endAt, undefined, (thread) => {
      const own = (rate * (this.parts[thread]?.count ?? 0)) / this.plan.terminals;
      // Threads take turns, or their arrivals would come in bunches.
      const first = startAt + (thread * 1000) / rate;
      const logins = arrivalsBefore(first, endAt, own);
      return { kind: 'open', startAt: first, measureFrom, rate: own, logins };
    });
    return { tally, from: measureFrom, rate };
  }

  async storm(): Promise<Measured> {
    const { within, giveUp, terminals } = this.plan;
    await this.fill(terminals);
    const startAt = clock() + SOON;
    this.tellAt(startAt);
    const tally = await this.watched(startAt, undefined, terminals, () => ({
      kind: 'storm',
      startAt,
      measureFrom: startAt,
      within: within * 1000,
      giveUpAt: startAt + giveUp * 1000,
    }));
    return { tally, from: startAt, rate: undefined };
  }

  /** Ends the heartbeats; undefined: there are none. */
  async endBeats(): Promise<Tally | undefined> {
    this.beaters?.stop();
    return this.beating;
  }

  async end(): Promise<void> {
    await Promise.all([this.fleet.terminate(), this.beaters?.terminate()]);
  }

  private threadPlans(target: Target): ThreadPlan[] {
    const { plan, parts } = this;
    const sequence = randomInt(0x8000_0000);
    const room = Math.max(1, Math.floor((roomForConnections() - plan.beating) / plan.threads));
    return parts.map(({ first, count }, thread) => ({
      crew: {
        seed: plan.seed,
        suite: plan.suite,
        first: plan.first + first,
        count,
        wrong: plan.wrong,
        sessionKey: plan.key === true,
        sequence,
        again: plan.echo === true,
      },
      target,
      thread,
      threads: plan.threads,
      chooseSource: canChooseSource(target.host),
      standing: plan.shape === 'storm' || plan.connections === 'persistent',
      verifyEvery: plan.verify,
      timeout: plan.timeout * 1000,
      room: Math.min(room, count),
      allowed: plan.echo
        ? Infinity
        : loginsAllowed(plan.warmUp + (plan.seconds ?? 0) * Math.max(1, plan.rates.length)),
      progress: this.progress,
    }));
  }

  private beaterPlan(like: ThreadPlan): ThreadPlan {
    const { first, terminals, beating, threads } = this.plan;
    const crew = { ...like.crew, first: first + terminals, count: beating, wrong: 0, sessionKey: false };
    return { ...like, crew, thread: threads, standing: true, room: beating };
  }

  /** @param logins of all terminals */
  private async fill(logins: number): Promise<void> {
    const { terminals, echo } = this.plan;
    const affordable = echo ? 1 : Math.floor(FRAME_MEMORY / FRAME_SIZE / terminals);
    const bar = new ProgressBar('signing frames');
    bar.update(0, logins);
    await this.fleet.fill(Math.min(Math.ceil(logins / terminals) + SPARE_ROUNDS, affordable));
    bar.end();
  }

  private async bringIn(fleet: Fleet, count: (thread: number) => number, what: string): Promise<void> {
    const bar = new ProgressBar(what);
    bar.update(0, 1);
    const startAt = clock();
    const tally = await fleet.run((thread) => ({
      kind: 'closed',
      startAt,
      measureFrom: startAt,
      endAt: undefined,
      logins: count(thread),
      concurrency: Math.min(SETUP_CONCURRENCY, count(thread)),
    }));
    bar.end();
    const { refused } = loginRow(tally, startAt);
    const reasons = Object.entries(refused).map(([name, n]) => `${name} ${n}`);
    if (reasons.length > 0)
      throw failed(`terminals that were to log in beforehand (${what}) could not: ${reasons.join(', ')}`);
  }

  private tellAt(measureFrom: number): void {
    setTimeout(this.onCounting, measureFrom - clock());
  }

  private async watched(
    startAt: number,
    endAt: number | undefined,
    logins: number | undefined,
    run: (thread: number) => RunPlan,
  ): Promise<Tally> {
    const done = new Int32Array(this.progress);
    const before = this.settled(done);
    const bar = new ProgressBar(this.plan.shape);
    const timer = setInterval(() => {
      if (logins !== undefined) bar.update(this.settled(done) - before, logins);
      else if (endAt !== undefined)
        bar.update(Math.round(Math.max(0, clock() - startAt) / 1000), Math.round((endAt - startAt) / 1000));
    }, 100);
    try {
      return await this.fleet.run(run);
    } finally {
      clearInterval(timer);
      bar.end();
    }
  }

  private settled(done: Int32Array): number {
    return done.subarray(0, this.plan.threads).reduce((sum, n) => sum + n, 0);
  }
}
