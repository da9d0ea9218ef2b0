/**
 * Plain secrets that an operator loaded into m2m.terminal_import and left lying there.
 *
 * Their age counts from when they can be seen, not from when their transaction began (loaded_at): lines that took
 * minutes to come over a slow line would go between COPY and import_terminals(), which then would find nothing wrong.
 */
import type { Database } from './database';

/** Milliseconds; with INTERVAL less than the minute that operators are told. */
const KEPT = 40_000;
export const LEFT_IMPORTS_INTERVAL = 5_000;

/** One a transaction that loaded lines. */
const LOADS = `
  SELECT i.loaded_at::text FROM m2m.terminal_import AS i GROUP BY i.loaded_at ORDER BY i.loaded_at LIMIT 10000`;
/** Those that an import has under way go with it. */
const FORGET = `
  DELETE FROM m2m.terminal_import WHERE line IN (
    SELECT line FROM m2m.terminal_import WHERE loaded_at = ANY ($1::timestamptz[]) FOR UPDATE SKIP LOCKED)`;

export class LeftImports {
  /** By their loads, when lines were first seen. */
  private seen = new Map<string, number>();

  constructor(private readonly database: Database) {}

  /** @param now milliseconds, steady */
  async look(now: number): Promise<void> {
    const { rows } = await this.database.query({ text: LOADS });
    this.seen = new Map(rows.map(([load]) => [load as string, this.seen.get(load as string) ?? now]));
    const old = [...this.seen].filter(([, since]) => now - since >= KEPT).map(([load]) => load);
    if (old.length > 0) await this.database.query({ text: FORGET, values: [old] });
  }
}
