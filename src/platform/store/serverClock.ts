/** The server's clock, by ours that never jumps: gateways' own clocks may be off. */

/** Seconds since the epoch. */
export const READ_CLOCK = 'SELECT extract(epoch FROM clock_timestamp())::float8';

export class ServerClock {
  private offset = 0;

  /** @param seconds what the server has answered just now; it is at least as late there */
  set(seconds: number): void {
    this.offset = seconds - performance.now() / 1000;
  }

  /** @param milliseconds of performance.now() */
  at(milliseconds: number): number {
    return this.offset + milliseconds / 1000;
  }
}
