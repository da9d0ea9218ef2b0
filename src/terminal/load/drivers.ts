/** Closed and open loop: which terminal logs in when, and what is counted. */
import { arrivalAt } from './arrivals';
import { clock } from './clock';
import type { Driver, Logins } from './logins';
import { AUTH_FAILED, isNoAnswer, OK } from './outcomes';
import type { RunPlan } from './plan';
import { recordMs, type Tally } from './tally';
import { Ticker } from './ticker';

type Run<Kind extends RunPlan['kind']> = Extract<RunPlan, { readonly kind: Kind }>;

/** Milliseconds until the next try in the place of one that found nobody: a loop over them would only burn time. */
const PAUSE = 100;

/** A run that is over at some point. */
export interface Driving extends Driver {
  start(): void;
}

export function count(tally: Tally, logins: Logins, terminal: number, outcome: number, took: number): void {
  const isWrong = logins.stock.wrong[terminal] === 1;
  (isWrong ? tally.wrongOutcomes : tally.outcomes)[outcome]!++;
  if (!isWrong && outcome === OK) recordMs(tally.ok, took);
  if (isWrong && outcome === AUTH_FAILED) recordMs(tally.wrong, took);
}

/** So many logins under way at any time, until the time is over or so many were begun. */
export class ClosedLoop implements Driving {
  private begun = 0;
  private busy = 0;

  constructor(
    private readonly logins: Logins,
    private readonly run: Run<'closed'>,
    private readonly over: () => void,
  ) {}

  start(): void {
    this.busy = this.run.concurrency;
    for (let i = 0; i < this.run.concurrency; i++) this.next();
    if (this.run.concurrency === 0) this.over();
  }

  settled(terminal: number, outcome: number, from: number): void {
    const { tally } = this.logins;
    this.logins.pool.give(terminal);
    const now = clock();
    if (from >= this.run.measureFrom) {
      count(tally, this.logins, terminal, outcome, now - from);
      tally.lastAt = now;
    }
    if (isNoAnswer(outcome)) setTimeout(() => this.next(), PAUSE);
    else this.next();
  }

  private next(): void {
    const now = clock();
    const { endAt = Infinity, logins: most = Infinity } = this.run;
    if (now >= endAt || this.begun >= most) return this.rest();
    const terminal = this.logins.idle();
    if (terminal === undefined) {
      this.logins.tally.exhausted = 1;
      return this.rest();
    }
    this.begun++;
    this.logins.begin(terminal, now);
  }

  private rest(): void {
    if (--this.busy === 0) this.over();
  }
}

/** Logins begin at a rate, however long their answers take; latency counts from when each was due. */
export class OpenLoop implements Driving {
  private readonly ticker = new Ticker(() => this.pump());
  /** A backlog is worked off for as long as an answer may take; what is left then was never sent. */
  private readonly giveUpAt: number;
  private begun = 0;
  private underWay = 0;

  constructor(
    private readonly logins: Logins,
    private readonly run: Run<'open'>,
    private readonly over: () => void,
  ) {
    this.giveUpAt = arrivalAt(run.startAt, run.logins, run.rate) + logins.plan.timeout;
  }

  start(): void {
    this.ticker.start();
  }

  settled(terminal: number, outcome: number, from: number): void {
    const { tally } = this.logins;
    this.logins.pool.give(terminal);
    this.underWay--;
    const now = clock();
    if (from >= this.run.measureFrom) {
      count(tally, this.logins, terminal, outcome, now - from);
      tally.lastAt = now;
    }
  }

  private pump(): void {
    const now = clock();
    const { startAt, rate, logins: all, measureFrom } = this.run;
    for (; this.begun < all && this.underWay < this.logins.plan.room; this.begun++) {
      const due = arrivalAt(startAt, this.begun, rate);
      if (due > now || now > this.giveUpAt) break;
      const terminal = this.logins.idle();
      if (terminal === undefined) break;
      this.underWay++;
      if (due >= measureFrom) recordMs(this.logins.tally.lag, now - due);
      this.logins.begin(terminal, due);
    }
    const noMore = this.begun >= all || now > this.giveUpAt;
    if (noMore && this.underWay === 0) this.finish();
  }

  private finish(): void {
    this.ticker.end();
    this.logins.tally.unsent = this.run.logins - this.begun;
    this.over();
  }
}
