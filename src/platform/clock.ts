/**
 * What time it is. Terminals' timestamps are judged, and sessions begun and ended, by the clock of the database, which
 * all gateways share: one gateway whose own clock is off must not turn terminals away that the others let in, nor
 * forget frames that the others still remember.
 *
 * Only what time it is comes from here. What measures how long something took, or when to do it next, goes by `steady`,
 * which does not jump when another offset is used.
 */
import type { Log } from './ops/log';

/** Milliseconds between two measurements. */
const INTERVAL = 5_000;
/** Milliseconds by which an offset must be wrong to be replaced: below it, it is mostly the way to the database. */
const WORTHWHILE = 1_000;
/** Milliseconds from which on the log tells that the clock is off, and below which it tells that it is right. */
const OFF = 2_000;
const RIGHT = 1_000;

/**
 * Milliseconds by a clock that nobody sets, from about those since the epoch on: whoever sets the machine's clock must
 * not end connections, nor hold answers up.
 */
export function steady(): number {
  return Math.floor(performance.timeOrigin + performance.now());
}

export interface ClockOptions {
  /** Milliseconds since the epoch, by the database. Undefined: it cannot be asked now. */
  readonly ask: () => Promise<number | undefined>;
  /** Milliseconds by a clock that does not jump. */
  readonly own: () => number;
  /** Milliseconds since the epoch, by this machine: setting it changes nothing but what the log tells. */
  readonly machine: () => number;
  /** Where it is told that this process's clock is off; undefined: another process of the gateway does so. */
  readonly log: Log | undefined;
}

export class Clock {
  /** Milliseconds that are added to `own`. */
  private offset = 0;
  private isOff = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: ClockOptions) {}

  /** Milliseconds since the epoch. */
  readonly now = (): number => this.options.own() + this.offset;

  async start(): Promise<void> {
    await this.measure();
    this.timer = setInterval(() => void this.measure(), INTERVAL).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Never throws. */
  async measure(): Promise<void> {
    const { ask, own, machine } = this.options;
    const [asked, shown] = [own(), machine()];
    const told = await ask();
    if (told === undefined) return;
    // Half of the way there and back; that is also how wrong it may be.
    const doubt = (own() - asked) / 2;
    this.use(told - (asked + doubt), doubt);
    this.judge(told - (shown + doubt), doubt);
  }

  private use(measured: number, doubt: number): void {
    if (Math.abs(measured - this.offset) > WORTHWHILE + doubt) this.offset = measured;
  }

  /** @param behind milliseconds that the machine's clock is behind the database's */
  private judge(behind: number, doubt: number): void {
    const off = Math.abs(behind);
    if (!this.isOff && off - doubt > OFF) this.tell(true, behind);
    else if (this.isOff && off < RIGHT) this.tell(false, behind);
  }

  private tell(isOff: boolean, behind: number): void {
    this.isOff = isOff;
    const by = `${(Math.abs(behind) / 1000).toFixed(1)} s ${behind < 0 ? 'ahead of' : 'behind'} the database's`;
    this.options.log?.event('clock-off', {
      message: isOff
        ? `this machine's clock is ${by}; terminals are judged by the database's`
        : "this machine's clock agrees with the database's again",
      level: isOff ? 'warn' : 'info',
      outcome: isOff ? 'failure' : 'success',
      detail: isOff ? by : undefined,
    });
  }
}
