/** Connections that have not logged in yet, by where they come from. */

/** Sources with many of them, and how many: what processes of one gateway tell each other. */
export type Crowds = readonly (readonly [source: string, connections: number])[];

/** Of what one source may have: fewer are not worth telling. */
const CROWD = 1 / 32;
const CROWDS_TOLD = 256;

export class Newcomers {
  private readonly counts = new Map<string, number>();

  /**
   * @param most of one source
   * @param elsewhere how many a source has in other processes of this gateway
   */
  constructor(
    private readonly most: number,
    private readonly elsewhere: (source: string) => number = () => 0,
  ) {}

  /** Sources that have any. */
  get size(): number {
    return this.counts.size;
  }

  /** @returns to be called when it has logged in or gone, however often; undefined: there are too many already */
  enter(source: string): (() => void) | undefined {
    const count = this.counts.get(source) ?? 0;
    if (count + this.elsewhere(source) >= this.most) return undefined;
    this.counts.set(source, count + 1);
    let isIn = true;
    return () => {
      if (isIn) this.leave(source);
      isIn = false;
    };
  }

  crowds(): Crowds {
    const told: (readonly [string, number])[] = [];
    for (const entry of this.counts) {
      if (told.length < CROWDS_TOLD && entry[1] > this.most * CROWD) told.push(entry);
    }
    return told;
  }

  private leave(source: string): void {
    const rest = (this.counts.get(source) ?? 0) - 1;
    if (rest > 0) this.counts.set(source, rest);
    else this.counts.delete(source);
  }
}
