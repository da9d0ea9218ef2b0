/** Plain secrets, while somebody holds rows of theirs, or changes them. */
import { keyRing } from '../../../src/crypto/sealing';
import { Database } from '../../../src/platform/store/database';
import { Sealer } from '../../../src/platform/store/sealer';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const LOT = 500;
const BEHIND = 7;
/** Plain, as SQL brings it in. */
const CHANGED = Buffer.concat([Buffer.of(0), Buffer.alloc(16, 0x43)]);
const ring = keyRing([{ id: '00112233', key: Buffer.alloc(32, 7) }]);

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

const plain = async () => (await fixture.client.query('SELECT FROM m2m.credential WHERE plain')).rowCount;

test('a whole lot of rows that somebody holds does not keep those behind it plain', async () => {
  for (let n = 0; n < LOT + BEHIND; n++) await provision(fixture.client);
  const errors: unknown[] = [];
  const sealer = new Sealer(
    database,
    () => ring,
    (error) => errors.push(error),
  );
  const operator = await fixture.open();
  await operator.query('BEGIN');
  const held = 'SELECT FROM m2m.credential WHERE plain ORDER BY terminal_id LIMIT $1 FOR UPDATE';
  await operator.query(held, [LOT]);
  await sealer.run();
  expect(await plain()).toBe(LOT);
  await operator.query('COMMIT');
  await sealer.run();
  expect([await plain(), errors]).toEqual([0, []]);
});

test.each(['uplink_password', 'downlink_password', 'base_key'] as const)(
  'a plain %s that is changed while it is sealed keeps what it was changed to',
  async (column) => {
    const { serial } = await provision(fixture.client);
    const ofIt = 'terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)';
    const query: Database['query'] = async (statement) => {
      if (statement.name === 'sealer-put')
        await fixture.client.query(`UPDATE m2m.credential SET ${column} = $2 WHERE ${ofIt}`, [
          serial,
          CHANGED,
        ]);
      return database.query(statement);
    };
    const errors: unknown[] = [];
    const meddling = { available: true, query } as unknown as Database;
    await new Sealer(
      meddling,
      () => ring,
      (error) => errors.push(error),
    ).run();
    const { rows } = await fixture.client.query(
      `SELECT ${column} AS value, plain FROM m2m.credential WHERE ${ofIt}`,
      [serial],
    );
    expect([rows, errors]).toEqual([[{ value: CHANGED, plain: true }], []]);
  },
);
