/** The database that goes away, over a wire that can be cut. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { Database, DatabaseAway, probePause } from '../../../src/platform/store/database';
import { TABLES } from '../../../src/platform/store/probe';
import { eventually } from '../../support/eventually';
import { Wire } from '../../support/wire';
import { openFixture, type Fixture } from './sqlFixture';

/** No statement is given up because the machine is slow. */
const PATIENCE_MS = 120_000;
/** Where one is to be given up. */
const SHORT_MS = 3_000;

let fixture: Fixture;
let wire: Wire;
const opened: Database[] = [];

beforeAll(async () => {
  fixture = await openFixture();
  wire = await Wire.to(fixture.url);
});

afterEach(async () => {
  wire.heal();
  await Promise.all(opened.splice(0).map((database) => database.close()));
});

afterAll(async () => {
  await wire.close();
  await fixture.close();
});

function open({ url = wire.through, timeout = PATIENCE_MS, size = 3 } = {}) {
  const story: string[] = [];
  const events = {
    lost: (reason: string) => story.push(reason),
    unfit: (reason: string) => story.push(`unfit: ${reason}`),
    back: () => story.push('back'),
    locked: (reason: string) => story.push(`locked: ${reason}`),
  };
  const database = new Database(url, size, events, timeout);
  opened.push(database);
  const told = (what: RegExp) => eventually(String(what), () => story.some((event) => what.test(event)));
  return { database, story, told, one: () => database.query({ text: 'SELECT 1' }) };
}

async function failure(promise: Promise<unknown>): Promise<DatabaseAway> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DatabaseAway);
  return error as DatabaseAway;
}

test('pauses between probes: none, then growing to 4 s, never the same for all', () => {
  expect(probePause(0, 0.5)).toBe(0);
  expect([1, 2, 3, 4, 5, 6, 1000].map((probes) => probePause(probes, 1))).toEqual([
    250, 500, 1000, 2000, 4000, 4000, 4000,
  ]);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1e6 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (probes, random) => {
        const pause = probePause(probes, random);
        const longest = probePause(probes, 1);
        return pause >= longest / 2 && pause <= longest;
      },
    ),
  );
});

test('every table that a statement of the store names is looked for', () => {
  const folder = join(__dirname, '../../../src/platform/store');
  const source = readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && !/^(probe|migrate\w*)\.ts$/.test(file))
    .map((file) => readFileSync(join(folder, file), 'utf8'));
  const named = source.flatMap((text) => [
    ...[...text.matchAll(/(?:FROM|JOIN|INTO|UPDATE) m2m\.(\w+)/g)].map(([, name]) => name),
    // Of the resealer, which a command calls; all of them are the gateway's, too.
    ...[...text.matchAll(/^ {4}name: '(\w+)',\n {4}key:/gm)].map(([, name]) => name),
  ]);
  expect([...new Set(named)].sort()).toEqual(TABLES);
});

test('a statement that is wrong, on a schema that fits, is our mistake and no loss', async () => {
  const { database, story } = open();
  const wrong = Array.from({ length: 5 }, () => database.query({ text: 'SELECT nothing FROM m2m.nowhere' }));
  for (const error of await Promise.allSettled(wrong))
    expect(error).toMatchObject({ status: 'rejected', reason: { code: '42P01' } });
  expect(story).toEqual([]);
  expect(database.available).toBe(true);
});

test('a connection that is cut: what was under way is unsure, then all is well', async () => {
  const { database, story, told, one } = open();
  const slow = failure(database.query({ text: 'SELECT pg_sleep(60)' }));
  const isUnderWay = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)' AND state = 'active'`;
  await eventually('a slow statement', async () => (await fixture.client.query(isUnderWay)).rowCount === 1);
  wire.cut();
  expect((await slow).unsure).toBe(true);
  await told(/back/);
  expect((await one()).rows).toEqual([[1]]);
  expect(story).toHaveLength(2);
});

test('tables that somebody has locked do not keep it from coming back', async () => {
  const { told, one } = open({ timeout: SHORT_MS });
  await fixture.client.query('BEGIN');
  try {
    await fixture.client.query(`LOCK TABLE m2m.migration, ${TABLES.map((name) => `m2m.${name}`).join(', ')}`);
    wire.refuse();
    await failure(one());
    wire.heal();
    await told(/back/);
  } finally {
    await fixture.client.query('ROLLBACK');
  }
});

test('an idle connection that is cut is no loss', async () => {
  const { story, one } = open();
  await one();
  wire.cut();
  await sleep(500);
  await one();
  expect(story).toEqual([]);
});

test('a server that cannot be reached: nothing is sent, nothing waits', async () => {
  const { database, one, told } = open();
  wire.refuse();
  expect(await failure(one())).toMatchObject({ unsure: false });
  expect(database.available).toBe(false);
  expect(await failure(one())).toMatchObject({ message: 'the database is away', unsure: false });
  wire.heal();
  await told(/back/);
  await one();
});

test('a server that says nothing any more: statements are given up, and connections made anew', async () => {
  const { told, one } = open({ timeout: SHORT_MS });
  await one();
  wire.silence();
  const [first, ...others] = await Promise.all(Array.from({ length: 6 }, () => failure(one())));
  // Three stood in line for a connection.
  expect([first, ...others].filter((away) => away?.unsure)).not.toHaveLength(6);
  wire.heal();
  await told(/back/);
  const [mine] = (await one()).rows;
  expect(mine).toEqual([1]);
});

test('a silent server does not hold up the end', async () => {
  const { database, one } = open();
  await one();
  wire.silence();
  await database.close();
  expect(await failure(one())).toMatchObject({ unsure: false });
});

test('a server that is read-only counts as away until it is not', async () => {
  const { rows } = await fixture.client.query<{ name: string }>('SELECT current_database() AS name');
  const { name } = rows[0]!;
  await fixture.client.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
  try {
    const { database, story } = open();
    const write = { text: `INSERT INTO m2m.change (terminal_id, serial, action) VALUES (1, 'x', 'x')` };
    const away = await failure(database.query(write));
    expect(away).toMatchObject({ unsure: false, message: expect.stringMatching(/read-only/) as string });
    await sleep(1_500);
    expect(story).toHaveLength(1);
    await fixture.client.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`);
    await eventually('a database that is back', () => database.available);
    await database.query(write);
  } finally {
    await fixture.client.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`);
  }
});

test('a disk that is full: the statement had no effect', async () => {
  const { database, told } = open();
  const full = `DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$`;
  expect(await failure(database.query({ text: full }))).toMatchObject({ unsure: false });
  await told(/back/);
});

test("somebody's open transaction: who waits for it gives up, and nothing is lost", async () => {
  const { database, story } = open({ timeout: 8_000 });
  const other = await fixture.open();
  await other.query('BEGIN');
  await other.query('LOCK TABLE m2m.throttle');
  const write = { text: 'DELETE FROM m2m.throttle' };
  expect(await failure(database.query(write))).toMatchObject({ unsure: false });
  expect(story).toEqual(['locked: canceling statement due to lock timeout']);
  await other.query('ROLLBACK');
  await database.query(write);
  await other.query('BEGIN');
  await other.query(`INSERT INTO m2m.throttle VALUES ('T', '192.0.2.1', 1, now(), now())`);
  const same = `INSERT INTO m2m.throttle VALUES ('T', '192.0.2.1', 1, now(), now())`;
  await failure(database.query({ text: same }));
  expect(story[1]).toMatch(/^locked: .*, while inserting .* in relation "throttle/);
  await other.query('ROLLBACK');
  expect(database.available).toBe(true);
});

test('a server that shows the parameters of what failed: they are not told', async () => {
  const { rows } = await fixture.client.query<{ name: string }>('SELECT current_database() AS name');
  const { name } = rows[0]!;
  await fixture.client.query(`ALTER DATABASE ${name} SET log_parameter_max_length_on_error = -1`);
  const other = await fixture.open();
  try {
    const { database, story } = open({ timeout: 8_000 });
    await other.query('BEGIN');
    await other.query(`INSERT INTO m2m.throttle VALUES ('T-shown', '192.0.2.1', 1, now(), now())`);
    const text = `INSERT INTO m2m.throttle VALUES ($1, '192.0.2.1', 1, now(), now())`;
    await failure(database.query({ text, values: ['T-shown'] }));
    expect(story).toEqual([
      expect.stringMatching(/^locked: .*, while inserting .* in relation "throttle_pkey"$/),
    ]);
  } finally {
    await other.query('ROLLBACK');
    await fixture.client.query(`ALTER DATABASE ${name} RESET log_parameter_max_length_on_error`);
  }
});

test('what server, database or user have set otherwise changes nothing', async () => {
  const { rows } = await fixture.client.query<{ name: string }>('SELECT current_database() AS name');
  const { name } = rows[0]!;
  const odd = {
    standard_conforming_strings: 'off',
    DateStyle: "'German'",
    extra_float_digits: '-10',
    default_transaction_isolation: "'serializable'",
    search_path: "'public', 'pg_catalog'",
    idle_session_timeout: "'1s'",
  };
  for (const [setting, value] of Object.entries(odd))
    await fixture.client.query(`ALTER DATABASE ${name} SET ${setting} = ${value}`);
  try {
    const { database } = open();
    const text = String.raw`SELECT '\x00'::bytea, to_timestamp(1795326630.125), 1795326630125::float8`;
    const answer = await database.query({ text });
    expect(answer.rows).toEqual([[Buffer.from([0]), new Date(1795326630125), 1795326630125]]);
    const kept = await Promise.all(
      Object.keys(odd).map((setting) => database.query({ text: `SHOW ${setting}` })),
    );
    expect(kept.map(({ rows: [row] }) => row![0])).toEqual([
      'on',
      'ISO, DMY',
      '1',
      'read committed',
      'pg_catalog',
      '0',
    ]);
  } finally {
    await fixture.client.query(`ALTER DATABASE ${name} RESET ALL`);
  }
});

test('a wrong statement is thrown as it is, and is no loss', async () => {
  const { database, story } = open();
  await expect(database.query({ text: 'SELECT 1/0' })).rejects.toMatchObject({ code: '22012' });
  expect(story).toEqual([]);
});

test('values that cannot be made take no connection along', async () => {
  const { database, one } = open({ size: 1 });
  const valuesOf = () => {
    throw new Error('no values');
  };
  await expect(database.query({ text: 'SELECT $1', valuesOf })).rejects.toThrow('no values');
  expect((await one()).rows).toEqual([[1]]);
});

test('a server with no connections to spare: work goes on with those that stand', async () => {
  await fixture.client.query('CREATE ROLE narrow LOGIN CONNECTION LIMIT 2; GRANT m2m_gateway TO narrow');
  try {
    const url = wire.through.replace(/\/\/[^@]*@/, '//narrow@');
    const { database, story } = open({ url, size: 6 });
    await database.query({ text: 'SELECT 1' });
    const all = Array.from({ length: 20 }, () => database.query({ text: 'SELECT pg_sleep(0.05)' }));
    await Promise.all(all);
    expect(story).toEqual([]);
    await database.close();
  } finally {
    await sleep(100);
    await fixture.client.query('DROP ROLE narrow');
  }
});

test('who waits for a connection of a server that is lost hears of it at once', async () => {
  const { database, told, one } = open({ size: 1 });
  await one();
  const busy = failure(database.query({ text: 'SELECT pg_sleep(600)' }));
  await eventually('a statement under way', async () => {
    const { rowCount } = await fixture.client.query(
      `SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'`,
    );
    return rowCount === 1;
  });
  const waiting = failure(one());
  const before = performance.now();
  wire.cut();
  const errors = await Promise.all([busy, waiting]);
  // The pool would leave it waiting for the whole time that a statement has.
  expect(performance.now() - before).toBeLessThan(PATIENCE_MS);
  expect(errors.map(({ unsure }) => unsure)).toEqual([true, false]);
  wire.heal();
  await told(/^back$/);
  await one();
});
