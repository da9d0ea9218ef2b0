/** Rows of gateway processes: who is gone is forgotten, and who only stood still is not lost. */
import { Database } from '../../../src/platform/store/database';
import { Housekeeping } from '../../../src/platform/store/housekeeping';
import { Instance } from '../../../src/platform/store/instance';
import { logIn, NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';
import { eventually } from '../../support/eventually';

const PATIENCE_MS = 120_000;

let fixture: Fixture;
let database: Database;
const errors: unknown[] = [];
const onError = (error: unknown) => errors.push(error);

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 4, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
  expect(errors).toEqual([]);
});

beforeEach(() => fixture.client.query('DELETE FROM m2m.instance'));

/** @param seenAt SQL */
async function processRow(
  name: string,
  seenAt: string,
  renews: boolean,
  startedAt = '3 days',
): Promise<number> {
  const { rows } = await fixture.client.query<{ id: string }>(
    `INSERT INTO m2m.instance (gateway, listen, started_at, seen_at, renews)
     VALUES ($1, '', now() - $3::interval, ${seenAt}, $2) RETURNING id`,
    [name, renews, startedAt],
  );
  return Number(rows[0]!.id);
}

const names = async () =>
  (await fixture.client.query<{ gateway: string }>('SELECT gateway FROM m2m.instance ORDER BY id')).rows.map(
    ({ gateway }) => gateway,
  );

test('who said goodbye, or was not heard of for a day, is forgotten; nobody else is', async () => {
  await processRow('alive', 'now()', true);
  await processRow('away for an hour', `now() - interval '1 hour'`, true);
  await processRow('killed', `now() - interval '25 hours'`, true);
  await processRow('goodbye', `'-infinity'`, true);
  await processRow('goodbye today', `'-infinity'`, true, '1 hour');
  await processRow('older release, silent for a day', `now() - interval '25 hours'`, false);
  await processRow('older release, killed', `now() - interval '31 days'`, false, '60 days');
  await processRow('older release, goodbye', `'-infinity'`, false);
  await new Housekeeping(database, onError).runAll();
  expect(await names()).toEqual([
    'alive',
    'away for an hour',
    'goodbye today',
    'older release, silent for a day',
  ]);
});

test('a session that stands keeps the name of its gateway', async () => {
  const terminal = await provision(fixture.client);
  await logIn(fixture.client, terminal.serial);
  const id = await processRow('gone', `'-infinity'`, true);
  await fixture.client.query('UPDATE m2m.session SET instance = $1 WHERE session_id IS NOT NULL', [id]);
  const housekeeping = new Housekeeping(database, onError);
  await housekeeping.runAll();
  expect(await names()).toEqual(['gone']);
  await fixture.client.query('UPDATE m2m.session SET session_id = NULL');
  await housekeeping.runAll();
  expect(await names()).toEqual([]);
});

test('a process whose row is gone writes it anew under its number, and looks for what it was not told', async () => {
  let late = 0;
  const instance = new Instance({
    database,
    gateway: 'gw',
    keyIds: () => ['0a0b0c0d'],
    onLate: () => (late += 1),
    onError,
  });
  await instance.start('here:1');
  await instance.listening('here:2');
  try {
    await fixture.client.query('DELETE FROM m2m.instance');
    await eventually('the process to look', () => late > 0);
    const { rows } = await fixture.client.query(
      `SELECT id, gateway, listen, key_ids, renews, seen_at > now() - interval '1 day' AS alive FROM m2m.instance`,
    );
    expect(rows).toEqual([
      {
        id: String(instance.id),
        gateway: 'gw',
        listen: 'here:2',
        key_ids: ['0a0b0c0d'],
        renews: true,
        alive: true,
      },
    ]);
  } finally {
    await instance.stop();
  }
});

test('a process that was silent for so long that others might soon pass it over looks for what it was not told', async () => {
  let late = 0;
  const onLate = () => (late += 1);
  const instance = new Instance({ database, gateway: 'gw', keyIds: () => [], onLate, onError });
  await instance.start('here:1');
  try {
    expect(late).toBe(0);
    await fixture.client.query(`UPDATE m2m.instance SET seen_at = now() - interval '25 seconds'`);
    await eventually('the process to look', () => late > 0);
  } finally {
    await instance.stop();
  }
});

test('a row that another process was given under the same number is left to it', async () => {
  let late = 0;
  const options = { database, keyIds: () => [], onError };
  const standing = new Instance({ ...options, gateway: 'standing', onLate: () => (late += 1) });
  await standing.start('here:1');
  const before = standing.id;
  try {
    await fixture.client.query('DELETE FROM m2m.instance');
    await fixture.client.query(
      `INSERT INTO m2m.instance (id, gateway, listen) OVERRIDING SYSTEM VALUE VALUES ($1, 'new', 'here:2')`,
      [before],
    );
    await eventually('the process to look', () => late > 0);
    expect(standing.id).not.toBe(before);
    expect(await names()).toEqual(['new', 'standing']);
  } finally {
    await standing.stop();
  }
});

test('an id that a process took before the database was restored is passed over', async () => {
  const latest = await processRow('before', 'now()', true);
  await fixture.client.query(
    `INSERT INTO m2m.instance (id, gateway, listen) OVERRIDING SYSTEM VALUE VALUES ($1, 'took over', '')`,
    [latest + 1],
  );
  const options = { database, gateway: 'new', keyIds: () => [], onLate: () => undefined, onError };
  const instance = new Instance(options);
  await instance.start('127.0.0.1:1');
  expect(instance.id).toBe(latest + 2);
  await instance.stop();
});
