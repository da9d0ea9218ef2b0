/**
 * Serials that nobody has, for a short while and bounded: a device that is not provisioned, or somebody who tries
 * serials, comes again and again. The feed of changes names a serial that is provisioned (changeFeed.ts).
 */
import { Recent } from '../recent';

/** Milliseconds for which a serial is remembered. */
const REMEMBERED = 30_000;
const CAPACITY = 100_000;

export class Strangers {
  private readonly until = new Recent<number>(CAPACITY, REMEMBERED);
  private changes = 0;

  get size(): number {
    return this.until.size;
  }

  has(serial: string, now: number): boolean {
    const until = this.until.get(serial);
    return until !== undefined && now < until;
  }

  /** To be taken before the database is asked: what it says may be old by the time that it is heard. */
  mark(): number {
    return this.changes;
  }

  /** Nobody has that serial, unless something has changed since the mark. */
  add(serial: string, mark: number, now: number): void {
    if (mark !== this.changes) return;
    this.until.set(serial, now + REMEMBERED, now);
  }

  /** Something was told of these. */
  forget(serials: Iterable<string>): void {
    this.changes++;
    for (const serial of serials) this.until.delete(serial);
  }

  /** Something may have changed that was not told. */
  clear(): void {
    this.changes++;
    this.until.clear();
  }
}
