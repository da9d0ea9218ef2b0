/**
 * What nobody needs any more goes, at leisure and once for all processes of a gateway. Rows that are written elsewhere
 * as well are passed over where somebody holds them, until the next time: nobody is waited for crosswise.
 */
import { steady } from '../clock';
import type { Database } from './database';
import { LEFT_IMPORTS_INTERVAL, LeftImports } from './leftImports';

/** Rows of the feed that every living gateway has read by then. */
const FORGET_CHANGES = `DELETE FROM m2m.change WHERE at < now() - interval '1 hour'`;
/** Keys of sessions whose time is up are not kept; the row itself stays for the next login. */
const FORGET_EXPIRED = `
  UPDATE m2m.session AS s SET
    session_id = NULL, session_key = NULL, connected = false, ended_at = s.expires_at, end_reason = 'expired'
  FROM (SELECT terminal_id FROM m2m.session WHERE session_id IS NOT NULL AND expires_at < now() - interval '1 minute'
        LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED) AS old
  WHERE s.terminal_id = old.terminal_id`;
/** Serials that nobody has, beyond the latest ten thousand. What a gateway is just noting is passed over. */
const FORGET_STRANGERS = `
  DELETE FROM m2m.failure WHERE serial IN (
    SELECT serial FROM m2m.failure WHERE serial IN (
      SELECT f.serial FROM m2m.failure AS f
      WHERE NOT EXISTS (SELECT FROM m2m.terminal AS t WHERE t.serial = f.serial)
      ORDER BY f.last_failure_at DESC OFFSET 10000)
    FOR UPDATE SKIP LOCKED)`;
/** Counts of failed attempts whose time is up. Gateways write the others at the same time. */
const FORGET_THROTTLE = `
  DELETE FROM m2m.throttle WHERE (serial, address) IN (
    SELECT serial, address FROM m2m.throttle WHERE expires_at <= now() LIMIT 50000 FOR UPDATE SKIP LOCKED)`;
/** Beyond a million of them, in a flood from many addresses, those that end next. */
const BOUND_THROTTLE = `
  DELETE FROM m2m.throttle WHERE (serial, address) IN (
    SELECT serial, address FROM m2m.throttle
    WHERE expires_at < (SELECT expires_at FROM m2m.throttle ORDER BY expires_at DESC OFFSET 1000000 LIMIT 1)
    LIMIT 50000 FOR UPDATE SKIP LOCKED)`;
/**
 * Processes that said goodbye, or have not been heard of for so long that nobody waits for them. One that only stood
 * still writes its row anew (instance.ts); those of older releases do not, and have 30 days. Whose session stands
 * keeps its name.
 */
const FORGET_INSTANCES = `
  DELETE FROM m2m.instance WHERE id IN (
    SELECT i.id FROM m2m.instance AS i
    WHERE i.started_at < now() - interval '1 day'
      AND i.seen_at < now() - CASE WHEN i.renews THEN interval '1 day' ELSE interval '30 days' END
      AND NOT EXISTS (SELECT FROM m2m.session AS s WHERE s.instance = i.id AND s.session_id IS NOT NULL)
    FOR UPDATE SKIP LOCKED)`;

/** Statements, and milliseconds from one run to the next. */
const CHORES: readonly (readonly [text: string, interval: number])[] = [
  [FORGET_THROTTLE, 5_000],
  [BOUND_THROTTLE, 10_000],
  [FORGET_STRANGERS, 60_000],
  [FORGET_CHANGES, 600_000],
  [FORGET_EXPIRED, 600_000],
  [FORGET_INSTANCES, 600_000],
];

export class Housekeeping {
  private timers: NodeJS.Timeout[] = [];
  private readonly leftImports: LeftImports;

  constructor(
    private readonly database: Database,
    private readonly onError: (error: unknown) => void,
  ) {
    this.leftImports = new LeftImports(database);
  }

  start(): void {
    const every = (interval: number, act: () => Promise<unknown>) =>
      setInterval(() => void this.run(act), interval).unref();
    this.timers = [
      ...CHORES.map(([text, interval]) => every(interval, () => this.database.query({ text }))),
      every(LEFT_IMPORTS_INTERVAL, () => this.leftImports.look(steady())),
    ];
  }

  stop(): void {
    for (const timer of this.timers) clearInterval(timer);
  }

  /** Does all of it now. Never throws. */
  async runAll(): Promise<void> {
    for (const [text] of CHORES) await this.run(() => this.database.query({ text }));
  }

  private async run(act: () => Promise<unknown>): Promise<void> {
    if (this.database.available) await act().catch(this.onError);
  }
}
