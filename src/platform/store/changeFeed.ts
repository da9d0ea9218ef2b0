/**
 * What changed about which terminals, from the table m2m.change: made by operators' SQL, and by logins that took
 * over a session of another gateway.
 *
 * NOTIFY makes it quick; a look every second makes it certain, also where the listening connection is silently
 * dead. Rows become visible in the order of commits, not of ids, so the feed goes by snapshots: each look begins at
 * the oldest transaction that was still running at the last one, and skips what it has already passed on.
 */
import type { Database } from './database';
import { ChangeListener } from './changeListener';

export const CHANNEL = 'm2m_change';
const LOOK_INTERVAL = 1_000;
/** Rows in one look; the next look follows at once where there were as many. */
const ROWS = 10_000;
/** Notifications of a burst share a look. */
const SETTLE = 10;

export interface Change {
  readonly terminalId: number;
  readonly serial: string;
  readonly action: string;
  /** For one gateway only, which was superseded; otherwise an operator's. */
  readonly targeted: boolean;
  /** Of lift_throttle: a network; undefined: everywhere. */
  readonly address?: string | undefined;
}

/** A transaction that is still running, in whatever database of the server, keeps the horizon below rows that are
 * there already: those are named. */
const START = `
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text, array(
    SELECT DISTINCT txid::text FROM m2m.change WHERE txid >= pg_snapshot_xmin(pg_current_snapshot()))`;
const LOOK = `
  SELECT id, terminal_id, serial, action, instance IS NOT NULL, txid::text,
    pg_snapshot_xmin(pg_current_snapshot())::text, address::text
  FROM m2m.change
  WHERE txid >= $1::xid8 AND (txid, id) > ($4::xid8, $5::bigint)
    AND (instance IS NULL OR instance = $2::bigint) AND txid <> ALL ($3::xid8[])
  ORDER BY txid, id LIMIT ${ROWS}`;

export interface ChangeFeedOptions {
  readonly database: Database;
  readonly instance: () => number;
  readonly onChanges: (changes: readonly Change[]) => void;
  readonly onError: (error: unknown) => void;
}

/** One pass over the rows from the horizon on, in as many lots as it takes. */
interface Sweep {
  /** As of its first lot: whatever commits later is at or above it. */
  readonly oldestRunning: string;
  readonly seen: Set<string>;
  last: { readonly txid: string; readonly id: string };
}

const NOWHERE = { txid: '0', id: '0' };

export class ChangeFeed {
  private horizon = '0';
  /** Transactions at or above the horizon whose rows were all passed on: a commit shows all of them at once. */
  private passed = new Set<string>();
  private sweep: Sweep | undefined;
  /** Counts beginnings: what a look from before one finds is of no use after it. */
  private era = 0;
  private readonly listener: ChangeListener;
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> | undefined;
  private lookAgain = false;
  private nudging: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(private readonly options: ChangeFeedOptions) {
    this.listener = new ChangeListener(options.database, CHANNEL, () => this.look());
  }

  /** Changes from now on are passed on. */
  async start(): Promise<void> {
    await this.restart();
    this.timer = setInterval(() => this.look(), LOOK_INTERVAL);
    this.timer.unref();
    this.listener.start();
  }

  /** Forgets where it was: what changed before now is the caller's to find out. */
  async restart(): Promise<void> {
    this.listener.renew();
    const { rows } = await this.options.database.query({ text: START });
    const [horizon, passed] = rows[0] as [string, string[]];
    this.horizon = horizon;
    this.passed = new Set(passed);
    this.sweep = undefined;
    this.era++;
  }

  /** Looks at once, or once more after the look that is under way. */
  look(): void {
    if (this.stopped) return;
    if (this.looking !== undefined) {
      this.lookAgain = true;
      return;
    }
    this.looking = this.lookOnce().then((full) => {
      this.looking = undefined;
      if (!full && !this.lookAgain) return;
      this.lookAgain = false;
      setTimeout(() => this.look(), full ? 0 : SETTLE);
    });
  }

  /** Tells other gateways that there is something for them; where a fleet comes back to other processes than it was
   * connected to, thousands of logins share a NOTIFY. Outside of their transactions: its commit lock is one for the
   * whole database. */
  nudge(): void {
    this.nudging ??= setTimeout(() => {
      this.nudging = undefined;
      const { database, onError } = this.options;
      database.query({ text: `SELECT pg_notify('${CHANNEL}', '')` }).catch(onError);
    }, SETTLE);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    clearTimeout(this.nudging);
    this.listener.stop();
    await this.looking;
  }

  /** @returns whether there may be more */
  private async lookOnce(): Promise<boolean> {
    const { database, instance, onChanges, onError } = this.options;
    const { era } = this;
    if (!database.available) return false;
    try {
      const { txid, id } = this.sweep?.last ?? NOWHERE;
      const values = [this.horizon, instance(), `{${[...this.passed].join(',')}}`, txid, id];
      const { rows } = await database.query({ name: 'change-feed', text: LOOK, values });
      if (era !== this.era) return true;
      this.advance(rows);
      if (rows.length > 0) onChanges(rows.map(readChange));
      return rows.length === ROWS;
    } catch (error) {
      onError(error);
      return false;
    }
  }

  /**
   * Rows come in lots, in order of their transactions. What was still running at the sweep's first lot may show up
   * below the last row later; the next sweep begins at the oldest of those.
   */
  private advance(rows: readonly unknown[][]): void {
    const [first, last] = [rows[0], rows.at(-1)];
    if (first !== undefined && last !== undefined) {
      this.sweep ??= { oldestRunning: first[6] as string, seen: new Set(), last: NOWHERE };
      for (const row of rows) this.sweep.seen.add(row[5] as string);
      this.sweep.last = { txid: last[5] as string, id: last[0] as string };
    }
    if (rows.length === ROWS || this.sweep === undefined) return;
    this.horizon = this.sweep.oldestRunning;
    for (const txid of this.sweep.seen) this.passed.add(txid);
    for (const txid of this.passed) if (BigInt(txid) < BigInt(this.horizon)) this.passed.delete(txid);
    this.sweep = undefined;
  }
}

function readChange(row: readonly unknown[]): Change {
  return {
    terminalId: Number(row[1]),
    serial: row[2] as string,
    action: row[3] as string,
    targeted: row[4] === true,
    address: (row[7] as string | null) ?? undefined,
  };
}
