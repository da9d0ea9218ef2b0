/**
 * How many logins are worked on at once, and when the others come back. After an outage a whole fleet is at the door:
 * who is let in is answered quickly, and the rest are given turns, one behind the other at the rate at which logins
 * are being finished, so that they do not come back together (docs/operations.md, "When everybody comes back").
 */

/** Logins under way at once: some batches' worth, a quarter of a second's work of a slow machine. */
export const MOST_UNDER_WAY = 4_096;
/** Milliseconds until the first turn. */
export const FIRST_TURN = 1_000;
/** Milliseconds. Turns beyond it are not worth queueing for: those terminals come back at random within it. */
export const LAST_TURN = 120_000;

/** Milliseconds of one measurement of the rate. */
const MEASURED_OVER = 250;
/**
 * Logins a second that are believed of a process before it has been measured. Too high costs a second BUSY, too low
 * leaves the gateway idle.
 */
const FIRST_RATE = 10_000;
const LEAST_RATE = 100;

/** A login that was let in; it is handed back when it has been answered. */
export interface Ticket {
  since: number;
}

export class Admission {
  private readonly underWay = new Set<Ticket>();
  private rate = FIRST_RATE;
  private lastTurn = 0;
  private measuredSince = 0;
  private finished = 0;
  private turnedAway = 0;

  /**
   * @param oldest milliseconds that a login may have been under way: beyond it the database does not keep up
   * @param random 0 to 1
   */
  constructor(
    private readonly oldest: number,
    private readonly random: () => number,
  ) {}

  get size(): number {
    return this.underWay.size;
  }

  /**
   * @param now milliseconds of a clock that nobody sets
   * @returns a ticket, or milliseconds after which the login may come back
   */
  enter(now: number): Ticket | number {
    this.measure(now);
    const [oldest] = this.underWay;
    const keepsUp = oldest === undefined || now - oldest.since < this.oldest;
    if (this.underWay.size >= MOST_UNDER_WAY || !keepsUp) return this.turn(now);
    const ticket = { since: now };
    this.underWay.add(ticket);
    return ticket;
  }

  leave(ticket: Ticket, now: number): void {
    if (this.underWay.delete(ticket)) this.finished++;
    this.measure(now);
  }

  /** It waits for somebody who holds its row: that says nothing about the database. */
  stepAside(ticket: Ticket): void {
    this.underWay.delete(ticket);
  }

  /** It asks the database again. */
  stepBack(ticket: Ticket, now: number): void {
    ticket.since = now;
    this.underWay.add(ticket);
  }

  private turn(now: number): number {
    this.turnedAway++;
    const turn = Math.max(this.lastTurn, now + FIRST_TURN) + 1000 / this.rate;
    if (turn - now > LAST_TURN) return Math.round(FIRST_TURN + this.random() * (LAST_TURN - FIRST_TURN));
    this.lastTurn = turn;
    return Math.round(turn - now);
  }

  /** The rate is that of times in which there was more to do than could be done; others say nothing about it. */
  private measure(now: number): void {
    const elapsed = now - this.measuredSince;
    if (elapsed >= 0 && elapsed < MEASURED_OVER) return;
    if (this.turnedAway > 0 && elapsed > 0 && elapsed < 4 * MEASURED_OVER) {
      this.rate = Math.max(LEAST_RATE, (this.rate + (this.finished * 1000) / elapsed) / 2);
    }
    this.measuredSince = now;
    this.finished = this.turnedAway = 0;
  }
}
