/** Looking terminals up: many share one statement, and every secret comes back opened. */
import { unseal, UnsealError, type KeyRing, type SealedColumn } from '../../crypto/sealing';
import {
  NO_CHANGES,
  type ChangeState,
  type LoginKind,
  type PendingChange,
  type SessionRow,
  type TerminalRecord,
  type TerminalStatus,
  type TerminalView,
} from '../model';
import { Batcher } from './batcher';
import { plainArray, textArray } from './arrays';
import type { Database } from './database';

/** A record and its session row as they were at one moment. */
export interface FreshView extends TerminalView {
  readonly row: SessionRow;
}

const COLUMNS = `t.id, t.serial, t.imei, t.imsi, t.status, t.least_login,
  c.uplink_password, c.downlink_password, c.base_key,
  s.revision, encode(s.session_id, 'hex'), s.end_reason, s.logins::text[], s.requests::text[],
  t.msisdn, t.packets_revoked_at, c.wished_targets, c.last_change_id, c.confirmed_id, c.confirmed_targets,
  c.change_id, c.change_targets, c.change_settled, c.change_by_sms,
  (extract(epoch FROM c.change_text_at) * 1000)::bigint,
  c.new_uplink_password, c.new_downlink_password, c.new_base_key, c.change_shown_id, c.change_shown_latest`;
const SOURCE = `m2m.terminal AS t
  JOIN m2m.credential AS c ON c.terminal_id = t.id
  JOIN m2m.session AS s ON s.terminal_id = t.id`;

const BY_SERIAL = `SELECT ${COLUMNS} FROM ${SOURCE} WHERE t.serial = ANY ($1::text[])`;
const BY_ID = `SELECT ${COLUMNS} FROM ${SOURCE} WHERE t.id = ANY ($1::bigint[])`;

/** Milliseconds. */
const LATELY = 1_000;

export interface TerminalsOptions {
  readonly database: Database;
  readonly ring: () => KeyRing;
  /** A stored secret that does not open; the terminal is treated as unknown. */
  readonly onUnreadable: (serial: string, error: UnsealError) => void;
}

export class Terminals {
  private readonly lookups: Batcher<string, FreshView | undefined>;
  /** The latest lookup that succeeded: milliseconds that it took, and when it was done. */
  private latest = { took: 0, at: -Infinity };

  constructor(private readonly options: TerminalsOptions) {
    this.lookups = new Batcher({
      run: (serials) => this.bySerials(serials),
      keyOf: (serial) => serial,
      maxItems: 512,
      maxUnderWay: 2,
      enough: 64,
      window: 1,
    });
  }

  /** Lookups that wait for their batch to leave. */
  get waiting(): number {
    return this.lookups.depth;
  }

  /** Milliseconds that a lookup takes now; undefined: none has succeeded of late. */
  get lookupTime(): number | undefined {
    return performance.now() - this.latest.at < LATELY ? this.latest.took : undefined;
  }

  /** The terminal as the database has it now. Throws DatabaseAway. */
  async find(serial: string): Promise<FreshView | undefined> {
    const begun = performance.now();
    const view = await this.lookups.submit(serial);
    const at = performance.now();
    this.latest = { took: at - begun, at };
    return view;
  }

  /** Those of the terminals that exist, in no order. Throws DatabaseAway. */
  async byIds(ids: readonly number[]): Promise<FreshView[]> {
    const { rows } = await this.options.database.query({
      name: 'terminals-by-id',
      text: BY_ID,
      values: [plainArray(ids)],
    });
    return rows.flatMap((row) => this.open(row) ?? []);
  }

  private async bySerials(serials: readonly string[]): Promise<(FreshView | undefined)[]> {
    const { rows } = await this.options.database.query({
      name: 'terminals-by-serial',
      text: BY_SERIAL,
      values: [textArray(serials)],
    });
    const found = new Map(rows.map((row) => [row[1] as string, row]));
    return serials.map((serial) => {
      const row = found.get(serial);
      return row && this.open(row);
    });
  }

  private open(row: readonly unknown[]): FreshView | undefined {
    try {
      return { record: readRecord(row, this.options.ring()), row: readSessionRow(row.slice(10)) };
    } catch (error) {
      if (!(error instanceof UnsealError)) throw error;
      this.options.onUnreadable(row[1] as string, error);
      return undefined;
    }
  }
}

function readSessionRow([sessionId, endReason, logins, requests]: readonly unknown[]): SessionRow {
  return {
    sessionId: (sessionId as string | null) ?? undefined,
    endReason: (endReason as string | null) ?? undefined,
    logins: logins as string[],
    requests: requests as string[],
  };
}

function readRecord(row: readonly unknown[], ring: KeyRing): TerminalRecord {
  const [id, serial, imei, imsi, status, leastLogin, uplink, downlink, baseKey, revision] = row;
  const name = serial as string;
  return {
    id: Number(id),
    serial: name,
    imei: imei as string,
    imsi: imsi as string,
    status: status as TerminalStatus,
    leastLogin: leastLogin as LoginKind,
    uplinkPassword: unseal(ring, 'uplink_password', name, uplink as Buffer),
    downlinkPassword: unseal(ring, 'downlink_password', name, downlink as Buffer),
    baseKey: opened(ring, 'base_key', name, baseKey),
    revision: revision as number,
    msisdn: (row[14] as string | null) ?? undefined,
    packetsRevokedAt: Number(row[15]),
    changes: readChanges(row.slice(16), name, ring),
  };
}

function readChanges(columns: readonly unknown[], serial: string, ring: KeyRing): ChangeState {
  const [wished, lastId, confirmedId, confirmedTargets, id, ...pending] = columns;
  if (lastId === '0' && wished === 0) return NO_CHANGES;
  return {
    wished: wished as number,
    lastId: Number(lastId),
    confirmed:
      confirmedId === null ? undefined : { id: Number(confirmedId), targets: confirmedTargets as number },
    pending: id === null ? undefined : readPending(Number(id), pending, serial, ring),
  };
}

function readPending(id: number, columns: readonly unknown[], serial: string, ring: KeyRing): PendingChange {
  const [targets, settled, bySms, textAt, uplink, downlink, baseKey, shownId, shownLatest] = columns;
  return {
    id,
    targets: targets as number,
    settled: settled as number,
    bySms: bySms === true,
    // Of this change: a gateway that knows nothing of it leaves an older one's id behind.
    shown: Number(shownId) !== id ? 'never' : shownLatest === true ? 'latest' : 'earlier',
    textAt: textAt === null ? undefined : Number(textAt),
    uplinkPassword: opened(ring, 'new_uplink_password', serial, uplink),
    downlinkPassword: opened(ring, 'new_downlink_password', serial, downlink),
    baseKey: opened(ring, 'new_base_key', serial, baseKey),
  };
}

function opened(ring: KeyRing, column: SealedColumn, serial: string, stored: unknown): Buffer | undefined {
  return stored === null ? undefined : unseal(ring, column, serial, stored as Buffer);
}
