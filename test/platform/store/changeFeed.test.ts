import type { Client } from 'pg';
import { ChangeFeed, type Change } from '../../../src/platform/store/changeFeed';
import { Database } from '../../../src/platform/store/database';
import { NO_EVENTS, openFixture, type Fixture } from './sqlFixture';
import { eventually } from '../../support/eventually';

/** No statement is given up because the machine is slow. */
const PATIENCE_MS = 120_000;

const INSTANCE = 7;
let fixture: Fixture;
let database: Database;
let feed: ChangeFeed;
let told: Change[];
const errors: unknown[] = [];

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 2, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
  expect(errors).toEqual([]);
});

beforeEach(async () => {
  await fixture.client.query('DELETE FROM m2m.change');
  told = [];
  feed = new ChangeFeed({
    database,
    instance: () => INSTANCE,
    onChanges: (changes) => told.push(...changes),
    onError: (error) => errors.push(error),
  });
  await feed.start();
});

afterEach(() => feed.stop());

/** Rows without a NOTIFY, as if it had been lost. */
async function change(
  client: Client,
  serial: string,
  count = 1,
  instance: number | null = null,
): Promise<void> {
  await client.query(
    `INSERT INTO m2m.change (terminal_id, serial, action, instance)
     SELECT n, $1 || n, 'x', $3 FROM generate_series(1, $2::int) AS n`,
    [serial, count, instance],
  );
}

const areTold = (count: number) => eventually(`${count} changes`, () => told.length >= count);

const serials = () => told.map(({ serial }) => serial);

test('what no notification told of is found all the same; what is for another gateway is not', async () => {
  await change(fixture.client, 'other-', 1, INSTANCE + 1);
  await change(fixture.client, 'mine-', 1, INSTANCE);
  await change(fixture.client, 'all-');
  await areTold(2);
  expect(told).toEqual([
    { terminalId: 1, serial: 'mine-1', action: 'x', targeted: true },
    { terminalId: 1, serial: 'all-1', action: 'x', targeted: false },
  ]);
});

test('a transaction that commits after a later one: both are told, once', async () => {
  const slow = await fixture.open();
  await slow.query('BEGIN');
  await change(slow, 'early-', 3);
  await change(fixture.client, 'late-', 2);
  await areTold(2);
  for (let n = 0; n < 3; n++) {
    await change(fixture.client, `between-${n}-`);
    await areTold(3 + n);
  }
  await slow.query('COMMIT');
  await areTold(8);
  await change(fixture.client, 'end-');
  await eventually('the last change', () => serials().includes('end-1'));
  expect(serials().sort()).toEqual(
    [
      'between-0-1',
      'between-1-1',
      'between-2-1',
      'early-1',
      'early-2',
      'early-3',
      'end-1',
      'late-1',
      'late-2',
    ].sort(),
  );
});

test('25,000 changes in one transaction, and others beside them: each is told once', async () => {
  const slow = await fixture.open();
  await slow.query('BEGIN');
  await change(slow, 'beside-', 10);
  await change(fixture.client, 'many-', 25_000);
  await areTold(25_000);
  await slow.query('COMMIT');
  await areTold(25_010);
  await change(fixture.client, 'end-');
  await eventually('the last change', () => serials().includes('end-1'));
  expect(new Set(serials()).size).toBe(25_011);
  expect(told).toHaveLength(25_011);
});

test('what was passed on is remembered only while a transaction of before may still commit', async () => {
  for (let n = 1; n <= 20; n++) {
    await change(fixture.client, 'one-');
    feed.look();
    await areTold(n);
  }
  const passed = () => (Reflect.get(feed, 'passed') as Set<string>).size;
  // Others on this server have transactions of their own.
  await eventually('most of them are forgotten', async () => {
    const before = told.length;
    await change(fixture.client, 'more-');
    feed.look();
    await areTold(before + 1);
    return passed() < 10;
  });
});

test('what changed before a new beginning is not told', async () => {
  await change(fixture.client, 'old-');
  await areTold(1);
  const slow = await fixture.open();
  await slow.query('BEGIN');
  await change(slow, 'slow-');
  await change(fixture.client, 'old-', 2);
  await areTold(3);
  await feed.restart();
  await change(fixture.client, 'new-');
  await areTold(4);
  await slow.query('COMMIT');
  await areTold(5);
  expect(serials()).toEqual(['old-1', 'old-1', 'old-2', 'new-1', 'slow-1']);
});

test('nudges that come together are one NOTIFY, and one that comes later is another', async () => {
  const listening = await fixture.open();
  let heard = 0;
  listening.on('notification', () => heard++);
  await listening.query('LISTEN m2m_change');
  for (let n = 0; n < 1_000; n++) feed.nudge();
  await eventually('the first', () => heard === 1);
  feed.nudge();
  await eventually('the second', () => heard === 2);
  // Nothing is left over: what was told before this statement has been heard with its answer.
  await listening.query('SELECT');
  expect(heard).toBe(2);
});
