/** Sealing anew: every value that is stored, and none that somebody has changed meanwhile. */
import { keyRing, seal, sealedUnder, unseal, type SealedColumn } from '../../../src/crypto/sealing';
import { Database } from '../../../src/platform/store/database';
import type { Querying } from '../../../src/platform/store/probe';
import { countByKey, reseal } from '../../../src/platform/store/resealer';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const OLD = { id: '00000001', key: Buffer.alloc(32, 1) };
const NEW = { id: '00000002', key: Buffer.alloc(32, 2) };
const before = keyRing([OLD]);
const both = keyRing([OLD, NEW]);

/** Where what is sealed stands, and what it is sealed as. */
const STORED: readonly [table: string, column: string, as: SealedColumn][] = [
  ['credential', 'uplink_password', 'uplink_password'],
  ['credential', 'downlink_password', 'downlink_password'],
  ['credential', 'base_key', 'base_key'],
  ['credential', 'new_uplink_password', 'new_uplink_password'],
  ['credential', 'new_downlink_password', 'new_downlink_password'],
  ['credential', 'new_base_key', 'new_base_key'],
  ['credential', 'replaced_uplink_password', 'uplink_password'],
  ['session', 'session_key', 'session_key'],
  ['sms_outbox', 'text', 'sms_text'],
];

let fixture: Fixture;
let database: Database;

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 2, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
});

/** A terminal of whom all is stored that can be, under the old key. */
async function terminal(): Promise<string> {
  const { serial } = await provision(fixture.client);
  await fixture.client.query(
    `INSERT INTO m2m.sms_outbox (terminal_id, serial, change_id, msisdn)
     SELECT id, serial, 1, '+4912345678' FROM m2m.terminal WHERE serial = $1`,
    [serial],
  );
  for (const [table, column, as] of STORED)
    await put(serial, table, column, seal(before, as, serial, Buffer.from(`the ${column}`)));
  return serial;
}

const ROW_OF = '= (SELECT id FROM m2m.terminal WHERE serial = $1)';

const put = (serial: string, table: string, column: string, value: Buffer) =>
  fixture.client.query(`UPDATE m2m.${table} SET ${column} = $2 WHERE terminal_id ${ROW_OF}`, [serial, value]);

async function get(serial: string, table: string, column: string): Promise<Buffer> {
  const text = `SELECT ${column} AS value FROM m2m.${table} WHERE terminal_id ${ROW_OF}`;
  return (await fixture.client.query<{ value: Buffer }>(text, [serial])).rows[0]!.value;
}

test('all that is stored is sealed anew, holds what it held, and is counted under its key', async () => {
  const serials = [await terminal(), await terminal()];
  const values = serials.length * STORED.length;
  expect(await countByKey(database)).toEqual(new Map([[OLD.id, values]]));
  expect(await reseal(database, both, () => undefined)).toBe(values);
  for (const serial of serials)
    for (const [table, column, as] of STORED) {
      const value = await get(serial, table, column);
      expect([column, sealedUnder(value)]).toEqual([column, NEW.id]);
      expect(unseal(both, as, serial, value).toString()).toBe(`the ${column}`);
    }
  expect(await countByKey(database)).toEqual(new Map([[NEW.id, values]]));
  expect(await reseal(database, both, () => undefined)).toBe(0);
});

test('what is changed while it is sealed anew keeps what it was changed to', async () => {
  const serial = await terminal();
  const changed = seal(before, 'uplink_password', serial, Buffer.from('another one'));
  const meddling: Querying = {
    query: async (statement) => {
      if (statement.text.includes('SET uplink_password'))
        await put(serial, 'credential', 'uplink_password', changed);
      return database.query(statement);
    },
  };
  expect(await reseal(meddling, both, () => undefined)).toBe(STORED.length - 1);
  expect(await get(serial, 'credential', 'uplink_password')).toEqual(changed);
  expect(await reseal(database, both, () => undefined)).toBe(1);
});
