/**
 * Failed attempts, counted by (serial, source) and by source, never by serial alone: a stranger cannot lock a
 * terminal out. After each delay one frame is judged (docs/protocol.md, "Throttling").
 *
 * Every process counts what it sees at once; what the others have seen comes in by way of store/throttles.ts.
 */
import { FailureCounts, type Counted, type Noted } from './failureCounts';

/** Failures of one serial from one source before the first delay. */
const FREE_FAILURES = 10;
/** Failures a minute that a source may have: a carrier's NAT stands for many terminals. */
const SOURCE_FREE_FAILURES = 1_000;
const LONGEST_DELAY = 60_000;
const SOURCE_DELAY = 1_000;
/** Milliseconds after its last failure at which a count is forgotten. */
const FORGET_AFTER = 600_000;
/** Milliseconds after its first failure at which the count of a source is. */
const SOURCE_FORGET_AFTER = 60_000;
/** Counts of each kind that are kept in memory. */
const CAPACITY = 100_000;
/** Frames of one serial from one source that are judged at once: one terminal's whole window of logins. */
const AT_ONCE = 64;
/** Milliseconds after which one that finds too many others under judgement may come back. */
const COME_BACK_AFTER = 1_000;

/** What all processes together have counted. */
export interface Told extends Counted {
  readonly failures: number;
  /** Milliseconds since the last failure. */
  readonly age: number;
  /** Milliseconds until the count is forgotten. */
  readonly expiresIn: number;
}

/** What the others are to be told: new failures, and counts that a login has ended. */
export interface Untold {
  readonly noted: readonly Noted[];
  readonly cleared: readonly Counted[];
}

/** A frame under judgement; it is handed back with what became of it. */
export interface Judged {
  readonly of: Counted;
  readonly key: string;
}

/** What became of a frame: `neither` says nothing about who sent it. */
export type Verdict = 'failed' | 'passed' | 'neither';

export class Throttle {
  private readonly pairs = new FailureCounts(CAPACITY, FORGET_AFTER);
  private readonly sources = new FailureCounts(CAPACITY, SOURCE_FORGET_AFTER);
  /** Frames under judgement. */
  private readonly underWay = new Map<string, number>();
  /** Whose count ended by a login, which the others do not know of yet; and which are just being told of it. */
  private cleared = new Map<string, Counted>();
  private clearing = new Map<string, Counted>();
  private endings = 0;

  /** Counts the times that counts were ended: what was read before the last one is of no use after it. */
  get era(): number {
    return this.endings;
  }

  /** Counts in memory, and frames under judgement. */
  get size(): number {
    return this.pairs.size + this.sources.size + this.underWay.size + this.cleared.size;
  }

  /** Milliseconds until a frame of this serial from this source is judged again; 0: now. */
  delay(serial: string, source: string, now: number): number {
    return this.delayOf(keyOf({ serial, source }), source, now);
  }

  private delayOf(key: string, source: string, now: number): number {
    const pair = this.pairs.get(key, now)?.closedUntil ?? 0;
    const whole = this.sources.get(source, now)?.closedUntil ?? 0;
    return Math.max(0, Math.max(pair, whole) - now);
  }

  /**
   * A frame is to be judged: guesses that come together must not all be made before the first of them is counted.
   *
   * @returns it is judged, and `leave` follows; or milliseconds until it may come back
   */
  enter(serial: string, source: string, now: number): Judged | number {
    const of = { serial, source };
    const key = keyOf(of);
    const wait = this.delayOf(key, source, now);
    if (wait > 0) return wait;
    const failures = this.pairs.get(key, now)?.failures ?? 0;
    const under = this.underWay.get(key) ?? 0;
    const room = failures === 0 ? AT_ONCE : Math.max(1, FREE_FAILURES - failures);
    if (under >= room) return COME_BACK_AFTER;
    this.underWay.set(key, under + 1);
    return { of, key };
  }

  leave({ of, key }: Judged, verdict: Verdict, now: number): void {
    const under = (this.underWay.get(key) ?? 0) - 1;
    if (under > 0) this.underWay.set(key, under);
    else this.underWay.delete(key);
    if (verdict === 'passed') this.passed(of, key);
    if (verdict !== 'failed') return;
    this.failed(of, now);
    this.failed({ serial: '', source: of.source }, now);
  }

  /** Takes what the others are to be told, the most urgent first; `told` or `putBack` follows. */
  take(most: number): Untold {
    const singles = most / 10;
    const sources = this.sources.take(most / 2, singles);
    const pairs = this.pairs.take(most - sources.length, singles);
    this.clearing = this.cleared;
    this.cleared = new Map();
    return { noted: [...sources, ...pairs], cleared: [...this.clearing.values()] };
  }

  /** What was taken is written. @param era as of when it was taken */
  told(rows: readonly Told[], era: number, now: number): void {
    this.learn(
      rows.filter((row) => this.countsOf(row).get(keyOf(row), now) !== undefined),
      era,
      now,
    );
    if (this.clearing.size > 0) this.endings++;
    this.clearing.clear();
  }

  /** The others could not be told: next time. */
  putBack({ noted }: Untold): void {
    for (const one of noted) this.countsOf(one).putBack(keyOf(one), one.failures);
    for (const [key, one] of this.clearing) this.toClear(key, one);
    this.clearing.clear();
  }

  /** What all processes have counted. @param era as of when it was read */
  learn(rows: readonly Told[], era: number, now: number): void {
    if (era !== this.endings) return;
    for (const row of rows) {
      const key = keyOf(row);
      if (this.cleared.has(key) || this.clearing.has(key)) continue;
      const count = this.countsOf(row).touch(key, row, now, row.expiresIn);
      count.failures = Math.max(count.failures, row.failures + count.unwritten);
      count.expiresAt = Math.max(count.expiresAt, now + row.expiresIn);
      const delay = delayAfter(row, row.failures);
      if (delay > 0) count.closedUntil = Math.max(count.closedUntil, now - Math.max(0, row.age) + delay);
    }
  }

  /** Forgets what an operator has lifted. */
  lift(concerns: (counted: Counted) => boolean): void {
    this.endings++;
    this.pairs.deleteWhere(concerns);
    this.sources.deleteWhere(concerns);
  }

  private failed(of: Counted, now: number): void {
    const count = this.countsOf(of).touch(keyOf(of), of, now);
    count.failures++;
    count.unwritten++;
    count.failedAt = now;
    const delay = delayAfter(of, count.failures);
    if (delay > 0) count.closedUntil = now + delay;
    if (!isSource(of)) count.expiresAt = now + FORGET_AFTER;
    this.countsOf(of).changed(keyOf(of), count);
  }

  /** Who knows the password begins anew; what the source has done besides stays. */
  private passed(of: Counted, key: string): void {
    const known = this.pairs.delete(key);
    const isWritten = known !== undefined && known.failures > known.unwritten;
    if (isWritten) this.toClear(key, of);
  }

  /** One that finds no room stands again as the table has it, until it expires there. */
  private toClear(key: string, of: Counted): void {
    if (this.cleared.size < CAPACITY) this.cleared.set(key, of);
  }

  private countsOf(of: Counted): FailureCounts {
    return isSource(of) ? this.sources : this.pairs;
  }
}

function isSource({ serial }: Counted): boolean {
  return serial === '';
}

/** Milliseconds in which nothing is judged. @param failures so far */
export function delayAfter(of: Counted, failures: number): number {
  if (isSource(of)) return failures > SOURCE_FREE_FAILURES ? SOURCE_DELAY : 0;
  const excess = failures - FREE_FAILURES;
  return excess < 0 ? 0 : Math.min(LONGEST_DELAY, 1000 * 2 ** Math.min(excess, 10));
}

/** A serial holds no blank; the counts of sources are kept apart. */
function keyOf({ serial, source }: Counted): string {
  return serial === '' ? source : `${serial} ${source}`;
}
