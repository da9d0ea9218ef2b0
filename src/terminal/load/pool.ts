/** Terminals that are not under way, in the order in which they came back: each logs in as often as the others. */
export class Pool {
  private readonly ring: Int32Array;
  private head = 0;
  private held: number;

  constructor(count: number) {
    this.ring = Int32Array.from({ length: count }, (_, i) => i);
    this.held = count;
  }

  take(): number | undefined {
    if (this.held === 0) return undefined;
    const terminal = this.ring[this.head];
    this.head = (this.head + 1) % this.ring.length;
    this.held--;
    return terminal;
  }

  give(terminal: number): void {
    this.ring[(this.head + this.held) % this.ring.length] = terminal;
    this.held++;
  }
}
