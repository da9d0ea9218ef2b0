/** The bench's terminals in a database: brought in where they are missing, sealed, and found quickly. */
import { Client } from 'pg';
import { benchSerial, benchTerminal } from '../../terminal/load/identity';
import { HMAC_SHA256 } from '../../protocol/suites';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { asPsqlReads } from '../../platform/store/address';
import { failed } from '../errors';
import { ProgressBar } from '../progress';

const LOT = 10_000;
const CONNECT_MS = 60_000;
/** Milliseconds without any progress after which nobody is thought to seal. */
const SEALING_PATIENCE = 60_000;

const IMPORT = `
  INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password, base_key, label)
  SELECT t.*, $7 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS t`;

/** Says which seed a terminal was made with, and nothing about its secrets. */
function labelOf(seed: string): string {
  return `m2m bench, seed ${createHash('sha256').update(`m2m bench label ${seed}`).digest('hex').slice(0, 12)}`;
}

/** The terminals of a generator: those that log in, then those that only send heartbeats. */
export interface Which {
  /** Number of the first. */
  readonly first: number;
  readonly terminals: number;
  readonly beating?: number;
}

export interface Provisioned {
  /** Terminals that were not there before. */
  readonly added: number;
  /** Of the database, `18.4` for example. */
  readonly postgres: string;
}

/**
 * Makes sure that terminals are there, active and sealed.
 *
 * @param url of the database, for its owner
 * @param stop gives it up between two steps
 */
export async function provision(
  url: string,
  seed: string,
  which: Which,
  stop: AbortSignal,
): Promise<Provisioned> {
  const client = new Client({ connectionString: asPsqlReads(url), connectionTimeoutMillis: CONNECT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const missing = await missingOf(client, seed, which);
    await bringIn(client, seed, missing, stop);
    await untilSealed(client, stop);
    if (missing.length > 0) await client.query('VACUUM (ANALYZE) m2m.terminal, m2m.credential, m2m.session');
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    return { added: missing.length, postgres: rows[0]?.server_version ?? 'unknown' };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw code === undefined ? error : failed(`the database: ${message || code}`);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function missingOf(
  client: Client,
  seed: string,
  { first, terminals, beating = 0 }: Which,
): Promise<number[]> {
  const end = first + terminals + beating;
  const { rows } = await client.query<{ serial: string; label: string | null; status: string }>(
    `SELECT serial, label, status FROM m2m.terminal WHERE serial BETWEEN $1 AND $2 AND serial LIKE 'BENCH-_______'`,
    [benchSerial(first), benchSerial(end - 1)],
  );
  const other = rows.find(({ label, status }) => label !== labelOf(seed) || status !== 'active');
  if (other !== undefined) {
    const why = other.status === 'active' ? 'was made with another --seed' : `is ${other.status}`;
    throw failed(`terminal ${other.serial} of this database ${why}`);
  }
  const there = new Set(rows.map(({ serial }) => serial));
  return Array.from({ length: end - first }, (_, i) => first + i).filter((i) => !there.has(benchSerial(i)));
}

async function bringIn(
  client: Client,
  seed: string,
  missing: readonly number[],
  stop: AbortSignal,
): Promise<void> {
  const bar = new ProgressBar('provisioning');
  for (let at = 0; at < missing.length; at += LOT) {
    stop.throwIfAborted();
    await bringInLot(client, seed, missing.slice(at, at + LOT));
    bar.update(at, missing.length);
  }
  bar.end();
}

async function bringInLot(client: Client, seed: string, lot: readonly number[]): Promise<void> {
  const terminals = lot.map((i) => benchTerminal(seed, i, HMAC_SHA256));
  const hex = (bytes: Buffer | undefined): string => `\\x${(bytes ?? Buffer.alloc(0)).toString('hex')}`;
  await client.query('BEGIN');
  await client.query(IMPORT, [
    terminals.map(({ serial }) => serial),
    terminals.map(({ imei }) => imei),
    terminals.map(({ imsi }) => imsi),
    terminals.map(({ uplinkPassword }) => hex(uplinkPassword)),
    terminals.map(({ downlinkPassword }) => hex(downlinkPassword)),
    terminals.map(({ baseKey }) => hex(baseKey)),
    labelOf(seed),
  ]);
  const { rows } = await client.query<{ column_name: string; reason: string }>(
    'SELECT column_name, reason FROM m2m.import_terminals()',
  );
  const fault = rows[0];
  await client.query(fault === undefined ? 'COMMIT' : 'ROLLBACK');
  if (fault !== undefined)
    throw failed(`terminals cannot be provisioned: ${fault.column_name} ${fault.reason}`);
}

/** A running gateway seals what is plain; until then logins wait for it. */
async function untilSealed(client: Client, stop: AbortSignal): Promise<void> {
  const bar = new ProgressBar('sealing');
  let [most, left, changedAt] = [0, Infinity, performance.now()];
  for (;;) {
    stop.throwIfAborted();
    const { rows } = await client.query<{ plain: number }>(
      'SELECT count(*)::integer AS plain FROM m2m.credential WHERE plain',
    );
    const now = rows[0]?.plain ?? 0;
    if (now === 0) return bar.end();
    if (now < left) [left, changedAt] = [now, performance.now()];
    if (performance.now() - changedAt > SEALING_PATIENCE)
      throw failed(`${now} terminals are not sealed: no gateway works on this database`);
    most = Math.max(most, now);
    bar.update(most - now, most);
    await sleep(100);
  }
}
