/**
 * Terminal records by serial, bounded. A stale one costs a second look at the database, never an admission: the
 * committing statement compares the revision.
 *
 * node-cache throws when it is full instead of making room, so two of them take turns: the younger one fills, then
 * becomes the older one, and what was not asked for while it was older goes.
 */
import NodeCache from 'node-cache';
import type { TerminalRecord } from '../model';

export class RecordCache {
  private younger = emptyCache();
  private older = emptyCache();

  /** @param capacity records kept at most */
  constructor(private readonly capacity: number) {}

  get(serial: string): TerminalRecord | undefined {
    const recent = this.younger.get<TerminalRecord>(serial);
    if (recent !== undefined) return recent;
    const kept = this.older.take<TerminalRecord>(serial);
    if (kept !== undefined) this.set(kept);
    return kept;
  }

  set(record: TerminalRecord): void {
    if (this.younger.getStats().keys >= this.capacity / 2) this.turn();
    this.younger.set(record.serial, record);
  }

  delete(serial: string): void {
    this.younger.del(serial);
    this.older.del(serial);
  }

  clear(): void {
    this.younger.flushAll();
    this.older.flushAll();
  }

  private turn(): void {
    this.older.close();
    this.older = this.younger;
    this.younger = emptyCache();
  }
}

function emptyCache(): NodeCache {
  return new NodeCache({ useClones: false, checkperiod: 0, stdTTL: 0 });
}
