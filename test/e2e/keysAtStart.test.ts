/** When a start makes a key file, and when it leaves none behind. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addKeys } from '../../src/platform/keys/keyFile';
import { requireBuild } from '../support/cli';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { runCommand, startGateway, testHome, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';

let database: TestDatabase;
let home: TestHome;

beforeAll(async () => {
  requireBuild('cli', 'platform/keys');
  database = await createDatabase();
  home = testHome();
});

afterAll(async () => {
  await database?.drop();
  home?.remove();
});

test('keys that a start has made are gone again where they do not fit, so that the next one says the same', async () => {
  const gateway = await startGateway({ databaseUrl: database.url, home });
  await gateway.stop();
  const fresh = mkdtempSync(join(tmpdir(), 'm2m-e2e-'));
  const environment = {
    M2M_DATABASE_TIMEOUT: '120',
    DATABASE_URL: database.url,
    M2M_DATA_DIR: fresh,
    M2M_LISTEN: '127.0.0.1:0',
    M2M_OPS_LISTEN: '127.0.0.1:0',
  };
  const first = await runCommand(['serve'], environment);
  expect(first.code).toBe(1);
  expect(first.stderr).toContain(`M2M_KEY_FILE: ${join(fresh, 'keys.json')}: the key file does not fit`);
  expect(readdirSync(fresh)).toEqual([]);
  const { code } = await runCommand(['serve'], environment);
  expect([code, readdirSync(fresh)]).toEqual([1, []]);
  rmSync(fresh, { recursive: true });
});

test.each([
  ['/proc/nowhere', '/proc/nowhere cannot be made: ENOENT'],
  ['/dev/null/data', '/dev/null/data cannot be made: ENOTDIR'],
  [process.execPath, `${process.execPath} cannot be made: EEXIST`],
  // Which is there, and lets nobody write, root neither.
  ['/proc', 'nothing can be written in /proc: ENOENT'],
])(
  'a data directory that cannot be made or written (%s) ends the start, with the name of the setting',
  async (directory, why) => {
    const environment = { M2M_DATA_DIR: directory, M2M_LISTEN: '127.0.0.1:0', M2M_OPS_LISTEN: '127.0.0.1:0' };
    for (const databaseUrl of [undefined, database.url]) {
      const { code, stderr } = await runCommand(['serve'], {
        ...environment,
        ...(databaseUrl && { DATABASE_URL: databaseUrl }),
      });
      expect([code, stderr]).toEqual([2, `m2m: M2M_DATA_DIR: ${why}\n`]);
    }
  },
);

test('keys init makes the data directory, too, where the database is elsewhere', async () => {
  const fresh = mkdtempSync(join(tmpdir(), 'm2m-e2e-'));
  const empty = await createDatabase();
  try {
    const { code } = await runCommand(['keys', 'init'], {
      DATABASE_URL: empty.url,
      M2M_DATA_DIR: join(fresh, 'data'),
    });
    expect([code, readdirSync(join(fresh, 'data'))]).toEqual([0, ['keys.json']]);
  } finally {
    await empty.drop();
    rmSync(fresh, { recursive: true });
  }
});

test.each([
  ['M2M_TLS_CERT', { M2M_TLS_LISTEN: '127.0.0.1:0' }],
  ['M2M_OPS_TOKEN_FILE', { M2M_OPS_TOKEN_FILE: '/nowhere/tokens' }],
])('%s is looked at before a key file is made', async (variable, wrong) => {
  const fresh = mkdtempSync(join(tmpdir(), 'm2m-e2e-'));
  const { code, stderr } = await runCommand(['serve'], {
    DATABASE_URL: database.url,
    M2M_DATA_DIR: fresh,
    ...wrong,
  });
  expect([code, readdirSync(fresh)]).toEqual([2, []]);
  expect(stderr).toContain(variable);
  rmSync(fresh, { recursive: true });
});

/** The lock that migrations wait for each other by (src/platform/store/migrate.ts). */
const MIGRATION_LOCK = 0x6d326d;

test('a key that is added, and used by another gateway, while a start waits for the database is there when it goes on', async () => {
  const shared = await createDatabase();
  const folder = testHome();
  const operator = await Operator.connect(shared.url);
  const start = (name: string) =>
    startGateway({ databaseUrl: shared.url, home: folder, environment: { M2M_GATEWAY_ID: name } });
  const one = await start('one');
  try {
    await operator.sql('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const starting = start('two');
    starting.catch(() => undefined);
    await eventually('the start to wait', async () => {
      const waiting = await operator.sql(
        `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      );
      return waiting.length === 1;
    });
    const [added] = addKeys(folder.keyFile, ['sealing']);
    await one.logged((line) => String(line['message']).includes(`under key ${added!.id}`));
    await operator.sql('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]);
    const two = await starting;
    expect(await two.stop()).toBe(0);
  } finally {
    await one.stop();
    await operator.close();
    await shared.drop();
    folder.remove();
  }
});
