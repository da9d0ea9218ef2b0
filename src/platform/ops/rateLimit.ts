/** Token buckets by key, in bounded memory. */
const CAPACITY = 10_000;

interface Bucket {
  level: number;
  /** Milliseconds of a clock that nobody sets. */
  at: number;
}

export class RateLimit {
  private readonly buckets = new Map<string, Bucket>();

  /**
   * @param perSecond how many are let through on average
   * @param burst how many at once
   */
  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
  ) {}

  /** Takes one. @returns false where there is none left for now */
  take(key: string, now: number): boolean {
    const bucket = this.buckets.get(key) ?? { level: this.burst, at: now };
    const refilled = ((now - bucket.at) / 1000) * this.perSecond;
    bucket.level = Math.min(this.burst, bucket.level + Math.max(0, refilled));
    bucket.at = now;
    this.buckets.delete(key);
    this.buckets.set(key, bucket);
    this.forget();
    if (bucket.level < 1) return false;
    bucket.level--;
    return true;
  }

  /** Whether there is one left, without taking it. */
  has(key: string, now: number): boolean {
    const bucket = this.buckets.get(key);
    if (bucket === undefined) return true;
    return bucket.level + (Math.max(0, now - bucket.at) / 1000) * this.perSecond >= 1;
  }

  /** The one that was used least lately goes: by then it is full again, as a rule. */
  private forget(): void {
    if (this.buckets.size <= CAPACITY) return;
    const [oldest] = this.buckets.keys();
    if (oldest !== undefined) this.buckets.delete(oldest);
  }
}
