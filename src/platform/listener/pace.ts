/**
 * Small work that may come for thousands of connections in one turn of the event loop, such as their first frames, or
 * FIN: so much of it at once, the rest in later turns, and everybody else in between.
 */
export class Pace {
  private waiting: (() => void)[] = [];
  private done = 0;
  private isScheduled = false;

  /** @param most pieces of work in one turn */
  constructor(private readonly most: number) {}

  /** Now, where there is room in this turn; otherwise behind what waits already. */
  take(work: () => void): void {
    this.schedule();
    if (this.waiting.length > 0 || this.done >= this.most) {
      this.waiting.push(work);
      return;
    }
    this.done++;
    work();
  }

  /** In a later turn, behind what waits already. */
  takeLater(work: () => void): void {
    this.schedule();
    this.waiting.push(work);
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(this.turn);
  }

  private readonly turn = (): void => {
    this.isScheduled = false;
    const now = this.waiting.slice(0, this.most);
    this.waiting = this.waiting.slice(this.most);
    this.done = now.length;
    if (now.length > 0) this.schedule();
    for (const work of now) work();
  };
}
