/**
 * A bounded map that forgets what was not set for longest, roughly: two halves take turns. A Map alone would have to
 * find its oldest key behind all those that were deleted before it, which makes a flood of new keys dear.
 */
export class Recent<V> {
  private younger = new Map<string, V>();
  private older = new Map<string, V>();

  /**
   * @param capacity entries kept at most
   * @param onTurn told when some were forgotten to make room
   */
  constructor(
    private readonly capacity: number,
    private readonly onTurn: () => void = () => undefined,
  ) {}

  get size(): number {
    return this.younger.size + this.older.size;
  }

  get(key: string): V | undefined {
    return this.younger.get(key) ?? this.older.get(key);
  }

  /** It counts as new. */
  set(key: string, value: V): void {
    this.older.delete(key);
    if (this.younger.size >= this.capacity / 2 && !this.younger.has(key)) this.turn();
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

  private turn(): void {
    this.older = this.younger;
    this.younger = new Map();
    this.onTurn();
  }
}
