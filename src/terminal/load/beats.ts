/** Heartbeats of terminals that are logged in, evenly spread over each interval. */
import { arrivalAt } from './arrivals';
import { clock } from './clock';
import type { Driving } from './drivers';
import type { Logins } from './logins';
import { LOST, SILENT } from './outcomes';
import type { RunPlan } from './plan';
import { recordMs } from './tally';
import { Ticker } from './ticker';

/** Between two looks at what is still unanswered at the end. */
const REST_MS = 20;

export class Beats implements Driving {
  private readonly ticker = new Ticker(() => this.pump());
  /** When the unanswered beats of each terminal were due, oldest first: answers come in order. */
  private readonly waiting: number[][];
  private begun = 0;

  constructor(
    private readonly logins: Logins,
    private readonly run: Extract<RunPlan, { readonly kind: 'beats' }>,
    private readonly over: () => void,
  ) {
    this.waiting = Array.from({ length: logins.count }, () => []);
  }

  start(): void {
    this.ticker.start();
  }

  stop(): void {
    this.ticker.end();
    this.rest(clock() + this.logins.plan.timeout);
  }

  /** What has no answer yet is waited for, as long as an answer may take; then it counts with the time it has waited. */
  private rest(until: number): void {
    const now = clock();
    const left = this.waiting.flat();
    if (left.length > 0 && now < until) return void setTimeout(() => this.rest(until), REST_MS);
    for (const due of left) this.record(SILENT, now - due);
    this.over();
  }

  settled(): void {
    // Nobody logs in here.
  }

  beaten(terminal: number, result: number): void {
    const due = this.waiting[terminal]?.shift();
    if (due !== undefined) this.record(result, clock() - due);
  }

  lost(terminal: number): void {
    const now = clock();
    for (const due of this.waiting[terminal] ?? []) this.record(LOST, now - due);
    this.waiting[terminal] = [];
  }

  private record(outcome: number, took: number): void {
    const { tally } = this.logins;
    tally.outcomes[outcome]!++;
    recordMs(tally.ok, took);
  }

  private pump(): void {
    const now = clock();
    const rate = (this.logins.count * 1000) / this.run.every;
    for (;;) {
      const due = arrivalAt(this.run.startAt, this.begun, rate);
      if (due > now) return;
      const terminal = this.begun++ % this.logins.count;
      if (this.logins.beat(terminal) !== undefined) this.waiting[terminal]?.push(due);
    }
  }
}
