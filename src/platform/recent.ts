/**
 * A bounded map that forgets what was not set for longest, roughly, and what was not set for a lifetime: two halves
 * take turns. A Map alone would have to find its oldest key behind all those that were deleted before it, which makes
 * a flood of new keys dear.
 */
export class Recent<V> {
  private younger = new Map<string, V>();
  private older = new Map<string, V>();
  private turnedAt = -Infinity;

  /**
   * @param capacity entries kept at most
   * @param lifetime how long an entry is kept at least where there is room, in the unit of `now`; twice as long at
   *   most where others are set all the time
   * @param onTurn told when some were forgotten
   */
  constructor(
    private readonly capacity: number,
    private readonly lifetime: number,
    private readonly onTurn: () => void = () => undefined,
  ) {}

  get size(): number {
    return this.younger.size + this.older.size;
  }

  get(key: string): V | undefined {
    return this.younger.get(key) ?? this.older.get(key);
  }

  /** It counts as new. */
  set(key: string, value: V, now: number): void {
    this.older.delete(key);
    const isFull = this.younger.size >= this.capacity / 2 && !this.younger.has(key);
    if (isFull || now - this.turnedAt > this.lifetime) this.turn(now);
    this.younger.set(key, value);
  }

  delete(key: string): void {
    this.younger.delete(key);
    this.older.delete(key);
  }

  clear(): void {
    this.younger.clear();
    this.older.clear();
  }

  *entries(): Generator<[string, V]> {
    yield* this.older;
    yield* this.younger;
  }

  private turn(now: number): void {
    this.turnedAt = now;
    this.older = this.younger;
    this.younger = new Map();
    this.onTurn();
  }
}
