/**
 * Failed attempts, counted by (serial, address) and by address, never by serial alone: a stranger cannot lock a
 * terminal out. After each delay one frame is judged (docs/protocol.md, "Throttling").
 */

/** Failures of one serial from one address before the first delay. */
const FREE_FAILURES = 10;
/** Failures a minute that an address may have: a carrier's NAT stands for many terminals. */
const ADDRESS_FREE_FAILURES = 1_000;
const LONGEST_DELAY = 60_000;
/** Milliseconds after which a count is forgotten. */
const FORGET_AFTER = 600_000;
const ADDRESS_FORGET_AFTER = 60_000;
/** Counts kept; the oldest give way. */
const CAPACITY = 100_000;

interface Count {
  failures: number;
  since: number;
  /** Until then nothing is judged. */
  closedUntil: number;
}

export class Throttle {
  private readonly pairs = new Map<string, Count>();
  private readonly addresses = new Map<string, Count>();

  /** Milliseconds until a frame of this serial from this address is judged again; 0: now. */
  delay(serial: string, address: string, now: number): number {
    const pair = this.pairs.get(`${serial}|${address}`)?.closedUntil ?? 0;
    const whole = this.addresses.get(address)?.closedUntil ?? 0;
    return Math.max(0, Math.max(pair, whole) - now);
  }

  failed(serial: string, address: string, now: number): void {
    const pair = counted(this.pairs, `${serial}|${address}`, now, FORGET_AFTER);
    const excess = pair.failures - FREE_FAILURES;
    if (excess >= 0) pair.closedUntil = now + Math.min(LONGEST_DELAY, 1000 * 2 ** Math.min(excess, 10));
    const whole = counted(this.addresses, address, now, ADDRESS_FORGET_AFTER);
    if (whole.failures > ADDRESS_FREE_FAILURES) whole.closedUntil = now + 1000;
  }

  succeeded(serial: string, address: string): void {
    this.pairs.delete(`${serial}|${address}`);
  }
}

function counted(counts: Map<string, Count>, key: string, now: number, forgetAfter: number): Count {
  const known = counts.get(key);
  const count =
    known !== undefined && now - known.since < forgetAfter
      ? known
      : { failures: 0, since: now, closedUntil: 0 };
  count.failures++;
  // Taken out and put back, a Map keeps the order in which counts were last touched.
  counts.delete(key);
  counts.set(key, count);
  const [oldest] = counts.keys();
  if (counts.size > CAPACITY && oldest !== undefined) counts.delete(oldest);
  return count;
}
