/** Repeats of one kind become one line a second with a count; the first of them is told at once. */

interface Repeats {
  count: number;
  tell: (count: number) => void;
}

/** Kinds kept apart within one second; those beyond share a line. */
const CAPACITY = 1_000;
const REST = 'other kinds';

export class RollUp {
  private readonly repeats = new Map<string, Repeats>();
  private readonly timer: NodeJS.Timeout;

  constructor(interval = 1_000) {
    this.timer = setInterval(() => this.tellAll(), interval).unref();
  }

  /**
   * @param kind what repeats share: an address and a reason, as a rule
   * @param tell called with how many there were: now for the first, within a second for those that follow
   */
  note(kind: string, tell: (count: number) => void): void {
    const known = this.repeats.get(kind);
    if (known !== undefined) {
      known.count++;
      known.tell = tell;
    } else if (this.repeats.size < CAPACITY) {
      this.repeats.set(kind, { count: 0, tell });
      tell(1);
    } else if (kind !== REST) {
      this.note(REST, tell);
    } else {
      this.repeats.set(REST, { count: 1, tell });
    }
  }

  stop(): void {
    clearInterval(this.timer);
    this.tellAll();
  }

  private tellAll(): void {
    for (const { count, tell } of this.repeats.values()) if (count > 0) tell(count);
    this.repeats.clear();
  }
}
