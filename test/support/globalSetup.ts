import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { startEmbedded } from '../../src/platform/store/embedded';
import type { EmbeddedServer } from '../../src/platform/store/embedded';
import { migrate } from '../../src/platform/store/migrate';
import { TEMPLATE, databaseUrl } from './database';

/** What globalTeardown ends: one server a run, in a directory of its own. */
export interface TestServer {
  readonly server: EmbeddedServer;
  readonly dataDir: string;
}

declare global {
  var m2mTestServer: TestServer | undefined;
}

// Nobody misses the data of a test run that lost its power.
const parameters = {
  max_connections: '500',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  // Its snapshots hold up what some tests count.
  autovacuum: 'off',
};

async function execute(url: string, ...statements: string[]): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Makes the database that every test's database is a copy of; nobody connects to it afterwards. */
async function makeTemplate(url: string): Promise<void> {
  await execute(url, `CREATE DATABASE ${TEMPLATE}`);
  await migrate(databaseUrl(url, TEMPLATE));
  await execute(url, `ALTER DATABASE ${TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`);
}

export default async function globalSetup(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'm2m-test-'));
  const server = await startEmbedded({ dataDir, parameters }).catch(async (error: unknown) => {
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  });
  globalThis.m2mTestServer = { server, dataDir };
  try {
    await makeTemplate(server.url);
  } catch (error) {
    // Jest runs no teardown after a setup that failed.
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
  process.env['M2M_TEST_SERVER'] = server.url;
}
