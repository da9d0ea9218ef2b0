/** All terminals at once: who is put off comes back when it was told to, until all are in. */
import { Agenda } from './agenda';
import { stormArrival } from './arrivals';
import { clock } from './clock';
import { count, type Driving } from './drivers';
import type { Logins } from './logins';
import { AUTH_FAILED, isLater, isNoAnswer, OK } from './outcomes';
import type { RunPlan } from './plan';
import { curveStep } from './tally';
import { Ticker } from './ticker';

/** Milliseconds after which a terminal that was told nothing comes back: at random between the two. */
const SOONEST = 1_000;
const LATEST = 5_000;

const enum State {
  Outside,
  In,
  /** Answered for good with something else than OK. */
  Refused,
}

export class Storm implements Driving {
  private readonly agenda = new Agenda();
  private readonly ticker = new Ticker(() => this.pump());
  private readonly firstAt: Float64Array;
  private readonly states: Uint8Array;
  private settledForGood = 0;
  private ended = false;

  constructor(
    private readonly logins: Logins,
    private readonly run: Extract<RunPlan, { readonly kind: 'storm' }>,
    private readonly over: () => void,
  ) {
    this.firstAt = new Float64Array(logins.count);
    this.states = new Uint8Array(logins.count);
  }

  start(): void {
    const { thread, threads } = this.logins.plan;
    const window = { start: this.run.startAt, within: this.run.within };
    for (let i = 0; i < this.logins.count; i++) {
      const at = stormArrival(window, { i, count: this.logins.count, thread, threads });
      this.firstAt[i] = at;
      this.agenda.add(at, i);
    }
    this.ticker.start();
  }

  settled(terminal: number, outcome: number, _from: number, retryAfter: number | undefined): void {
    if (this.ended) return;
    const now = clock();
    const { tally } = this.logins;
    const step = curveStep(tally, now - this.run.startAt);
    step.outcomes[outcome] = (step.outcomes[outcome] ?? 0) + 1;
    if (isLater(outcome) || isNoAnswer(outcome)) {
      tally.putOff[outcome]!++;
      this.agenda.add(now + (retryAfter ?? soon()), terminal);
      return;
    }
    count(tally, this.logins, terminal, outcome, now - this.firstAt[terminal]!);
    this.enter(terminal, outcome, now);
  }

  lost(terminal: number): void {
    if (this.ended || this.states[terminal] !== State.In) return;
    const now = clock();
    this.states[terminal] = State.Outside;
    this.settledForGood--;
    this.logins.tally.in--;
    curveStep(this.logins.tally, now - this.run.startAt).in--;
    this.agenda.add(now + soon(), terminal);
  }

  private enter(terminal: number, outcome: number, now: number): void {
    const { tally } = this.logins;
    const expected = this.logins.stock.wrong[terminal] === 1 ? AUTH_FAILED : OK;
    this.settledForGood++;
    tally.lastAt = now;
    this.states[terminal] = outcome === OK ? State.In : State.Refused;
    if (outcome !== OK) return;
    if (outcome === expected) tally.in++;
    curveStep(tally, now - this.run.startAt).in++;
  }

  private pump(): void {
    const now = clock();
    for (let due = this.agenda.take(now); due !== undefined; due = this.agenda.take(now)) {
      this.logins.begin(due.item, this.firstAt[due.item]!);
    }
    if (this.settledForGood < this.logins.count && now < this.run.giveUpAt) return;
    this.ended = true;
    this.ticker.end();
    this.over();
  }
}

function soon(): number {
  return SOONEST + Math.random() * (LATEST - SOONEST);
}
