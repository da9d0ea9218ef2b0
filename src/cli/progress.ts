/** A progress bar on a terminal; nothing where standard error is no terminal. */
const WIDTH = 30;
const INTERVAL = 100;

export class ProgressBar {
  private shownAt = -Infinity;
  private shown = false;

  constructor(private readonly what: string) {}

  update(done: number, of: number): void {
    const now = performance.now();
    if (!process.stderr.isTTY || now - this.shownAt < INTERVAL) return;
    this.shownAt = now;
    this.shown = true;
    const share = of === 0 ? 1 : Math.min(1, done / of);
    const filled = Math.round(share * WIDTH);
    const bar = '#'.repeat(filled) + '.'.repeat(WIDTH - filled);
    process.stderr.write(`\r${this.what} [${bar}] ${Math.floor(share * 100)} % ${done}/${of}`);
  }

  end(): void {
    if (this.shown) process.stderr.write('\r\x1b[K');
  }
}
