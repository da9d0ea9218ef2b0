/** Sessions as other people's scripts have them: with settings of their own, and several at once. */
import type { Client } from 'pg';
import { Database } from '../../../src/platform/store/database';
import { LeftImports } from '../../../src/platform/store/leftImports';
import { imeiOf, NO_EVENTS, openFixture, provision, someoneWaits, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;

let fixture: Fixture;

beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture.close());

let last = 7_000_000;

/** Loads as many good lines as one \copy would, in one statement. @returns their serials */
async function load(client: Client, lines = 1, uplink = 'uplink secret'): Promise<string[]> {
  const numbers = Array.from({ length: lines }, () => ++last);
  const rows = numbers.map((n) => [`O-${n}`, imeiOf(n), String(462000000000000 + n), uplink]);
  const values = rows.map((row) => `(${row.map((value) => `'${value}'`).join(', ')}, 'down')`);
  await client.query(
    `INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password) VALUES ${values.join(', ')}`,
  );
  return rows.map(([serial]) => serial!);
}

async function faults(client: Client): Promise<unknown[]> {
  const { rows } = await client.query<object>('SELECT * FROM m2m.import_terminals()');
  return rows;
}

async function known(serials: readonly string[]): Promise<number> {
  const text = 'SELECT FROM m2m.terminal WHERE serial = ANY ($1)';
  return (await fixture.client.query(text, [serials])).rowCount ?? 0;
}

test('a session in which a backslash is an escape', async () => {
  const client = await fixture.open();
  await client.query('SET standard_conforming_strings = off; SET escape_string_warning = off');
  const { serial } = await provision(client, { base_key: Buffer.alloc(16, 7) });
  const serials = await load(client, 2, String.raw`\\x00ff`);
  expect(await faults(client)).toEqual([]);
  const { rows } = await fixture.client.query(
    `SELECT c.uplink_password FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id
     WHERE t.serial = ANY ($1) ORDER BY t.id`,
    [[serial, ...serials]],
  );
  expect(rows.map((row: { uplink_password: Buffer }) => row.uplink_password)).toEqual([
    Buffer.from('\0uplink-secret'),
    Buffer.from([0, 0, 255]),
    Buffer.from([0, 0, 255]),
  ]);
  await load(client, 1, String.raw`no\\escape`);
  expect(await faults(client)).toMatchObject([{ column_name: 'uplink_password' }]);
});

test('no function reads a backslash by the settings of its caller', async () => {
  const { rows } = await fixture.client.query<{ name: string }>(
    String.raw`SELECT oid::regprocedure::text AS name FROM pg_proc
      WHERE pronamespace = 'm2m'::regnamespace AND prosrc ~ '''[^'']*\\'
        AND NOT proconfig @> '{standard_conforming_strings=on}'`,
  );
  expect(rows).toEqual([]);
});

test('nothing that a script reads needs another encoding than Latin-1', async () => {
  const { rows } = await fixture.client.query<{ text: string }>(
    `SELECT advice || meaning AS text FROM m2m.reason
     UNION ALL SELECT prosrc FROM pg_proc WHERE pronamespace = 'm2m'::regnamespace
     UNION ALL SELECT description FROM pg_description AS d JOIN pg_proc AS p ON p.oid = d.objoid WHERE pronamespace = 'm2m'::regnamespace
     UNION ALL SELECT description FROM pg_description AS d JOIN pg_class AS c ON c.oid = d.objoid WHERE relnamespace = 'm2m'::regnamespace`,
  );
  expect(rows.map(({ text }) => text).filter((text) => /[^\0-\xff]/.test(text))).toEqual([]);
});

describe('two imports at once', () => {
  test('the second waits for the first, and both are taken', async () => {
    const [one, other] = [await fixture.open(), await fixture.open()];
    await one.query('BEGIN');
    const first = await load(one, 2);
    await other.query('BEGIN');
    const loading = load(other, 2);
    await someoneWaits(fixture.client);
    first.push(...(await load(one, 2)));
    expect(await faults(one)).toEqual([]);
    await one.query('COMMIT');
    const second = await loading;
    expect(await faults(other)).toEqual([]);
    await other.query('COMMIT');
    expect(await known([...first, ...second])).toBe(6);
  });

  test('lines are counted from 1 in the second as well', async () => {
    const [one, other] = [await fixture.open(), await fixture.open()];
    await one.query('BEGIN');
    await load(one, 3);
    const loading = load(other, 2, String.raw`bad\escape`);
    await someoneWaits(fixture.client);
    expect(await faults(one)).toEqual([]);
    await one.query('COMMIT');
    await loading;
    expect(await faults(other)).toMatchObject([{ line: '1' }, { line: '2' }]);
  });
});

describe('lines that are left lying', () => {
  let database: Database;
  beforeAll(() => {
    database = new Database(fixture.url, 2, NO_EVENTS, PATIENCE_MS);
  });
  afterAll(() => database.close());

  const lying = async () => (await fixture.client.query('SELECT FROM m2m.terminal_import')).rowCount;

  test('go forty seconds after they were first seen, however long ago their loading began', async () => {
    const left = new LeftImports(database);
    await load(fixture.client, 2);
    await fixture.client.query(`UPDATE m2m.terminal_import SET loaded_at = now() - interval '10 minutes'`);
    await left.look(1_000);
    await load(fixture.client);
    await left.look(40_999);
    expect(await lying()).toBe(3);
    await left.look(41_000);
    expect(await lying()).toBe(1);
    await left.look(80_999);
    expect(await lying()).toBe(0);
  });

  test('an import that has them under way is not waited for', async () => {
    const left = new LeftImports(database);
    const serials = await load(fixture.client, 2);
    await left.look(0);
    const importer = await fixture.open();
    await importer.query('BEGIN');
    expect(await faults(importer)).toEqual([]);
    await left.look(60_000);
    await importer.query('COMMIT');
    expect(await known(serials)).toBe(2);
  });

  test('an import that has looked at them takes them', async () => {
    const left = new LeftImports(database);
    const serials = await load(fixture.client, 2);
    await left.look(0);
    const [holder, importer] = [await fixture.open(), await fixture.open()];
    await holder.query('BEGIN; LOCK TABLE m2m.terminal IN SHARE MODE');
    const found = faults(importer);
    found.catch(() => undefined);
    await someoneWaits(fixture.client);
    await left.look(60_000);
    await holder.query('COMMIT');
    expect(await found).toEqual([]);
    expect(await known(serials)).toBe(2);
  });
});
