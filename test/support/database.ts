import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';

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
    drop: () => executeInTime(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}
