import { Client } from 'pg';
import type { DatabaseEvents } from '../../../src/platform/store/database';
import { createDatabase } from '../../support/database';

/** A value of an SQL argument: text, bytea or NULL. */
export type Argument = string | Buffer | null;
export type Arguments = Record<string, Argument>;

/** One migrated database with as many sessions as a test opens; `close` ends them and drops it. */
export interface Fixture {
  url: string;
  client: Client;
  open(): Promise<Client>;
  close(): Promise<void>;
}

/** For a test that does not lose its database. */
export const NO_EVENTS: DatabaseEvents = {
  lost: () => undefined,
  back: () => undefined,
  unfit: () => undefined,
  locked: () => undefined,
};

export async function openFixture(): Promise<Fixture> {
  const database = await createDatabase();
  const { url } = database;
  const clients: Client[] = [];
  const open = async (): Promise<Client> => {
    const client = new Client({ connectionString: url });
    clients.push(client);
    await client.connect();
    return client;
  };
  const close = async (): Promise<void> => {
    await Promise.all(clients.map((client) => client.end()));
    await database.drop();
  };
  return { url, client: await open(), open, close };
}

/** Calls an m2m function with named arguments, as an operator's script does. */
export async function call(client: Client, name: string, args: Arguments): Promise<string> {
  const names = Object.keys(args).map((argument, index) => `${argument} => $${index + 1}`);
  const { rows } = await client.query<{ answer: string }>(
    `SELECT m2m.${name}(${names.join(', ')}) AS answer`,
    Object.values(args),
  );
  return rows[0]!.answer;
}

/** The message and the SQLSTATE of a call that must be refused. */
export async function refusal(promise: Promise<unknown>): Promise<{ message: string; code: string }> {
  const answer = await promise.then(
    (value) => ({ message: `was not refused: ${String(value)}`, code: '' }),
    (error: Error & { code: string }) => ({ message: error.message, code: error.code }),
  );
  return answer;
}

/** An IMEI with a right check digit, computed the textbook way. */
export function imeiOf(number: number): string {
  const digits = String(86812300000000 + number);
  const sum = [...digits].reduce((total, digit, index) => {
    const value = Number(digit) * (index % 2 === 1 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return digits + String((10 - (sum % 10)) % 10);
}

export interface TerminalArguments extends Arguments {
  serial: string;
  imei: string;
  imsi: string;
}

let lastTerminal = 0;

/** Arguments of provision_terminal for a terminal that no other test has. */
export function newTerminal(
  extra: Arguments = {},
): Arguments & { serial: string; imei: string; imsi: string } {
  lastTerminal += 1;
  return {
    serial: `T-${lastTerminal}`,
    imei: imeiOf(lastTerminal),
    imsi: String(460000000000000 + lastTerminal),
    uplink_password: Buffer.from('uplink-secret'),
    downlink_password: Buffer.from('downlink-secret'),
    ...extra,
  };
}

/** Provisions a new terminal and returns its arguments. */
export async function provision(client: Client, extra: Arguments = {}): Promise<TerminalArguments> {
  const terminal = newTerminal(extra);
  await call(client, 'provision_terminal', terminal);
  return terminal;
}

const SESSION_OF = 'terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)';

/** An UPDATE as the gateway makes it for a login; tells whether the revision still held. */
export async function logIn(client: Client, serial: string, revision?: number): Promise<boolean> {
  const { rowCount } = await client.query(
    `UPDATE m2m.session SET session_id = '\\x0102030405060708', login = 'md5', instance = 7, address = '10.0.0.1',
       connected = true, started_at = now(), expires_at = now() + interval '1 day', session_key = '\\x01aa',
       logins = (gen_random_uuid() || logins)[1:64], requests = '{}', last_login_at = now()
     WHERE ${SESSION_OF} AND revision = coalesce($2, revision)`,
    [serial, revision ?? null],
  );
  return rowCount === 1;
}

export interface SessionRow {
  revision: number;
  session_id: Buffer | null;
  session_key: Buffer | null;
  connected: boolean;
  ended_at: Date | null;
  end_reason: string | null;
}

export async function sessionOf(client: Client, serial: string): Promise<SessionRow> {
  const { rows } = await client.query<SessionRow>(`SELECT * FROM m2m.session WHERE ${SESSION_OF}`, [serial]);
  return rows[0]!;
}

/** Everything that a refused call must leave as it was, as one text. */
export async function everything(client: Client): Promise<string> {
  const tables = ['terminal', 'credential', 'session', 'change', 'audit_log'];
  const parts = tables.map((table) => `(SELECT jsonb_agg(t ORDER BY t) FROM m2m.${table} AS t)`);
  const { rows } = await client.query<{ all: string }>(
    `SELECT jsonb_build_array(${parts.join(', ')})::text AS all`,
  );
  return rows[0]!.all;
}

/** Resolves as soon as a session of this database waits for a lock. */
export async function someoneWaits(client: Client): Promise<void> {
  for (;;) {
    const { rowCount } = await client.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (rowCount !== 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
