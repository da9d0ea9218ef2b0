/**
 * The server's clock, for what it must not do any more from some time on: never ahead of it, and of this one server.
 * What time it is to judge by, from the same readings, says ../clock.ts.
 */

/** Seconds since the epoch. */
export const READ_CLOCK = 'SELECT extract(epoch FROM clock_timestamp())::float8';

export class ServerClock {
  /** Seconds that the server's clock is ahead of performance.now(), at least. */
  private offset = -Infinity;

  /**
   * Hears what the server has answered.
   *
   * @param seconds by its clock @param asked milliseconds of performance.now()
   * @param answered likewise: by then it is at least as late there
   */
  hear(seconds: number, asked: number, answered: number): void {
    const [least, most] = [seconds - answered / 1000, seconds - asked / 1000];
    // An answer that was long on its way says less than one before; unless the server's clock was set back since.
    if (least > this.offset || most < this.offset) this.offset = least;
  }

  /** Seconds since the epoch. @param milliseconds of performance.now() */
  at(milliseconds: number): number {
    return this.offset + milliseconds / 1000;
  }
}
