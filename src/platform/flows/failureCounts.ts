/** Counts by key, bounded; which of them others have not been told of yet. */
import { Recent } from '../recent';

/** What a count is about; serial '': all of the source. */
export interface Counted {
  readonly serial: string;
  /** Address that attempts come from, or its network (config/networks.ts). */
  readonly source: string;
}

export interface Count {
  readonly of: Counted;
  /** As far as this process knows. */
  failures: number;
  /** Of these, those that are not written down yet. */
  unwritten: number;
  /** Milliseconds of a clock that nobody sets, as the others: when the latest of these was. */
  failedAt: number;
  /** Until then nothing is judged. */
  closedUntil: number;
  expiresAt: number;
}

/** Failures that this process has seen and the others do not know of yet. */
export interface Noted extends Counted {
  readonly failures: number;
  /** Milliseconds: when the latest was. */
  readonly failedAt: number;
}

export class FailureCounts {
  private readonly counts: Recent<Count>;
  /** Keys of counts that are to be told; of those with one failure a few only. */
  private readonly repeated = new Set<string>();
  private readonly single = new Set<string>();

  /**
   * @param capacity counts kept; those that were not touched for longest give way
   * @param lifetime milliseconds for which a count stands
   */
  constructor(
    capacity: number,
    private readonly lifetime: number,
  ) {
    this.counts = new Recent(capacity, lifetime, () => this.forgetGone());
  }

  get size(): number {
    return this.counts.size;
  }

  /** Keys that are kept for telling; never more than there may be counts. */
  get untold(): number {
    return this.repeated.size + this.single.size;
  }

  get(key: string, now: number): Count | undefined {
    const known = this.counts.get(key);
    return known !== undefined && known.expiresAt > now ? known : undefined;
  }

  /** The count of the key, made where there is none that still stands. */
  touch(key: string, { serial, source }: Counted, now: number, expiresIn = this.lifetime): Count {
    const fresh = { failures: 0, unwritten: 0, failedAt: now, closedUntil: 0, expiresAt: now + expiresIn };
    const count = this.get(key, now) ?? { of: { serial, source }, ...fresh };
    this.counts.set(key, count, now);
    return count;
  }

  changed(key: string, { failures }: Count): void {
    if (failures === 1) this.single.add(key);
    else if (!this.repeated.has(key)) {
      this.single.delete(key);
      this.repeated.add(key);
    }
  }

  delete(key: string): Count | undefined {
    const known = this.counts.get(key);
    this.counts.delete(key);
    this.repeated.delete(key);
    this.single.delete(key);
    return known;
  }

  deleteWhere(matches: (counted: Counted) => boolean): void {
    for (const [key, { of }] of this.counts.entries()) if (matches(of)) this.delete(key);
  }

  /**
   * Takes failures to be told. Single ones that find no room wait for a second failure: in a flood of serials, or of
   * addresses, they are not worth a row each.
   *
   * @param most counts in all @param singles of these, those with one failure
   */
  take(most: number, singles: number): Noted[] {
    const repeated = this.takeOf(this.repeated, most);
    const single = this.takeOf(this.single, Math.min(singles, most - repeated.length));
    this.single.clear();
    return [...repeated, ...single];
  }

  putBack(key: string, failures: number): void {
    const count = this.counts.get(key);
    if (count === undefined) return;
    count.unwritten += failures;
    this.repeated.add(key);
  }

  private takeOf(keys: Set<string>, most: number): Noted[] {
    const taken: Noted[] = [];
    for (const key of keys) {
      if (taken.length >= most) break;
      keys.delete(key);
      const count = this.counts.get(key);
      if (count === undefined || count.unwritten === 0) continue;
      taken.push({ ...count.of, failures: count.unwritten, failedAt: count.failedAt });
      count.unwritten = 0;
    }
    return taken;
  }

  private forgetGone(): void {
    for (const keys of [this.repeated, this.single]) {
      for (const key of keys) if (this.counts.get(key) === undefined) keys.delete(key);
    }
  }
}
