/** Connections that have not logged in yet, by where they come from. */

export class Newcomers {
  private readonly counts = new Map<string, number>();

  /** @param most of one source */
  constructor(private readonly most: number) {}

  /** Sources that have any. */
  get size(): number {
    return this.counts.size;
  }

  /** @returns to be called when it has logged in or gone, however often; undefined: there are too many already */
  enter(source: string): (() => void) | undefined {
    const count = this.counts.get(source) ?? 0;
    if (count >= this.most) return undefined;
    this.counts.set(source, count + 1);
    let isIn = true;
    return () => {
      if (isIn) this.leave(source);
      isIn = false;
    };
  }

  private leave(source: string): void {
    const rest = (this.counts.get(source) ?? 0) - 1;
    if (rest > 0) this.counts.set(source, rest);
    else this.counts.delete(source);
  }
}
