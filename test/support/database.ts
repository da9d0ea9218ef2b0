import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { expectNoSecret } from './secrets';

/** The migrated database that others are copied from. */
export const TEMPLATE = 'm2m_template';

/** A database of one test file. */
export interface TestDatabase {
  /** For its owner, who is a superuser. */
  readonly url: string;
  drop(): Promise<void>;
}

const PATIENCE_MS = 240_000;

// Somebody is connected to the source (autovacuum, another copy), or too many connect at once.
const PASSING = new Set(['55006', '53300', '57P03']);

/** The same server's URL for another database. */
export function databaseUrl(serverUrl: string, database: string): string {
  return serverUrl.replace(/@\/[^?]*/, `@/${database}`);
}

function serverUrl(): string {
  const url = process.env['M2M_TEST_SERVER'];
  if (url === undefined)
    throw new Error(
      'M2M_TEST_SERVER is not set: run the tests through jest, whose globalSetup starts a server',
    );
  return url;
}

async function execute(statement: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl() });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(statement);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function executeInTime(statement: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await execute(statement);
    } catch (error) {
      const passing = PASSING.has(String((error as { code?: unknown }).code));
      if (!passing || Date.now() > deadline) throw error;
      await sleep(20 + Math.random() * 100);
    }
  }
}

/** Makes a migrated database that nobody else uses. */
export async function createDatabase(): Promise<TestDatabase> {
  const name = `test_${process.pid}_${randomBytes(6).toString('hex')}`;
  await executeInTime(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE}`);
  return {
    url: databaseUrl(serverUrl(), name),
    drop: async () => {
      const rows = await plainRows(databaseUrl(serverUrl(), name));
      await executeInTime(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      for (const [table, text] of rows) expectNoSecret(`table ${table}`, Buffer.from(text));
    },
  };
}

/** Rows of one table that are looked at. */
const LOOKED_AT = 5_000;

/** Every table as text; of the secrets those that a gateway has sealed. A database that is gone has none. */
async function plainRows(url: string): Promise<[table: string, text: string][]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  const isThere = await client.connect().then(
    () => true,
    () => false,
  );
  if (!isThere) return [];
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'm2m'`,
    );
    const found: [string, string][] = [];
    for (const { name } of tables) {
      const which = name === 'credential' ? 'WHERE NOT plain' : '';
      const { rows } = await client.query<{ text: string }>(
        `SELECT t::text AS text FROM m2m.${name} AS t ${which} LIMIT ${LOOKED_AT}`,
      );
      found.push([name, rows.map(({ text }) => text).join('\n')]);
    }
    return found;
  } finally {
    await client.end().catch(() => undefined);
  }
}
