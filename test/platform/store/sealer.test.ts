/** Plain secrets, while somebody holds rows of theirs. */
import { keyRing } from '../../../src/crypto/sealing';
import { Database } from '../../../src/platform/store/database';
import { Sealer } from '../../../src/platform/store/sealer';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const LOT = 500;
const BEHIND = 7;
const ring = keyRing([{ id: '00112233', key: Buffer.alloc(32, 7) }]);

let fixture: Fixture;
let database: Database;

beforeAll(async () => {
  fixture = await openFixture();
  for (let n = 0; n < LOT + BEHIND; n++) await provision(fixture.client);
  database = new Database(fixture.url, 2, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
});

const plain = async () => (await fixture.client.query('SELECT FROM m2m.credential WHERE plain')).rowCount;

test('a whole lot of rows that somebody holds does not keep those behind it plain', async () => {
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
