/** Calls `tick` about every millisecond until it is told to end: Node.js has no finer timer that lets others work. */
export class Ticker {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly tick: () => void) {}

  start(): void {
    this.timer = setTimeout(() => {
      this.start();
      this.tick();
    }, 1);
  }

  end(): void {
    clearTimeout(this.timer);
  }
}
