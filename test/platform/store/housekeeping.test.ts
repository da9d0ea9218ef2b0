/** What is not kept, and what is. */
import { Database } from '../../../src/platform/store/database';
import { Housekeeping } from '../../../src/platform/store/housekeeping';
import { logIn, NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;

let fixture: Fixture;
let database: Database;
const errors: unknown[] = [];
const onError = (error: unknown) => errors.push(error);
const tidy = () => new Housekeeping(database, onError).runAll();

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 4, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
  expect(errors).toEqual([]);
});

test('a session whose time has been up for a minute is ended, and its key goes', async () => {
  const serials: string[] = [];
  for (const left of ['-61 s', '-30 s', '1 h']) {
    const { serial } = await provision(fixture.client);
    await logIn(fixture.client, serial);
    await fixture.client.query(
      `UPDATE m2m.session SET expires_at = now() + $2::interval
       WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)`,
      [serial, left],
    );
    serials.push(serial);
  }
  await tidy();
  const { rows } = await fixture.client.query(
    `SELECT session_id IS NULL AND session_key IS NULL AND NOT connected AS gone, end_reason AS why,
       ended_at = expires_at AS then
     FROM m2m.session JOIN m2m.terminal AS t ON t.id = terminal_id WHERE t.serial = ANY ($1) ORDER BY t.id`,
    [serials],
  );
  expect(rows).toEqual([
    { gone: true, why: 'expired', then: true },
    { gone: false, why: null, then: null },
    { gone: false, why: null, then: null },
  ]);
});

test('the feed of changes is kept for an hour', async () => {
  await fixture.client.query('DELETE FROM m2m.change');
  await fixture.client.query(
    `INSERT INTO m2m.change (at, terminal_id, serial, action)
     SELECT now() - n * interval '1 minute', 1, n, 'x' FROM unnest(ARRAY[1, 59, 61]) AS n`,
  );
  await tidy();
  const { rows } = await fixture.client.query(`SELECT serial FROM m2m.change ORDER BY serial::int`);
  expect(rows).toEqual([{ serial: '1' }, { serial: '59' }]);
});

test('each chore at its time, none while the database is away, and none after the end', async () => {
  jest.useFakeTimers();
  try {
    const asked: string[] = [];
    const query = ({ text }: { text: string }) => {
      asked.push(/m2m\.\w+/.exec(text)![0]);
      return Promise.resolve({ rows: [] });
    };
    const stub = { available: true, query };
    const housekeeping = new Housekeeping(stub as unknown as Database, onError);
    housekeeping.start();
    const during = async (milliseconds: number) => {
      asked.length = 0;
      await jest.advanceTimersByTimeAsync(milliseconds);
      return asked.sort();
    };
    const throttle = 'm2m.throttle';
    expect(await during(5_000)).toEqual(['m2m.terminal_import', throttle]);
    expect(await during(5_000)).toEqual(['m2m.terminal_import', throttle, throttle]);
    await during(590_000);
    expect(new Set(asked)).toEqual(
      new Set([
        ...['m2m.change', 'm2m.failure', 'm2m.instance', 'm2m.session', 'm2m.terminal_import', throttle],
      ]),
    );
    stub.available = false;
    expect(await during(600_000)).toEqual([]);
    stub.available = true;
    housekeeping.stop();
    expect(await during(600_000)).toEqual([]);
  } finally {
    jest.useRealTimers();
  }
});
