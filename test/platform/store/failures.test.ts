import { randomBytes } from 'node:crypto';
import { keyRing } from '../../../src/crypto/sealing';
import { Database } from '../../../src/platform/store/database';
import { Failures, type Attempt, type Search } from '../../../src/platform/store/failures';
import { Housekeeping } from '../../../src/platform/store/housekeeping';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

/** No statement is given up because the machine is slow. */
const PATIENCE_MS = 120_000;

let fixture: Fixture;
let database: Database;
const errors: unknown[] = [];
const ring = keyRing([{ id: '01020304', key: randomBytes(32) }]);

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 2, NO_EVENTS, PATIENCE_MS);
});

afterAll(async () => {
  await database.close();
  await fixture.close();
  expect(errors).toEqual([]);
});

/** @param slices in which a search is made */
const made = (find: () => string | undefined = () => undefined, slices = 1) => {
  const search: Search = function* () {
    for (let n = 1; n < slices; n++) yield;
    return find();
  };
  return new Failures({ database, ring: () => ring, search, onError: (error) => errors.push(error) });
};

const attempt = (serial: string, extra: Partial<Attempt> = {}): Attempt => ({
  serial,
  known: true,
  at: 1_764_000_000_000,
  result: 'auth-failed',
  reason: 'wrong-digest',
  address: '10.0.0.1',
  claims: {},
  ...extra,
});

const recent = async (serial: string) => {
  const { rows } = await fixture.client.query<{ recent: Record<string, unknown>[] }>(
    'SELECT recent FROM m2m.failure WHERE serial = $1',
    [serial],
  );
  return rows[0]!.recent;
};

test('attempts that came to the same are one entry, the latest kinds first, ten at most', async () => {
  const failures = made();
  for (const [reason, at] of [
    ['wrong-digest', 1000],
    ['other-imsi', 2000],
    ['wrong-digest', 3000],
  ] as const) {
    failures.note(attempt('A', { reason, at, address: `10.0.0.${at / 1000}` }));
    await failures.write();
  }
  failures.note(attempt('A', { reason: 'other-imsi', at: 3500, claims: { imsi: '46000' } }));
  await failures.write();
  expect(await recent('A')).toEqual([
    expect.objectContaining({ reason: 'other-imsi', imsi: '46000', times: 1, at: 3.5 }),
    expect.objectContaining({ reason: 'wrong-digest', times: 2, since: 1, at: 3, address: '10.0.0.3' }),
    expect.objectContaining({ reason: 'other-imsi', times: 1, at: 2 }),
  ]);
  for (let n = 0; n < 12; n++) {
    failures.note(attempt('A', { reason: `clock-behind-by-${n}s`, at: 4000 + n }));
    await failures.write();
  }
  const kept = await recent('A');
  expect(kept.map(({ reason }) => reason)).toEqual(
    Array.from({ length: 10 }, (_, n) => `clock-behind-by-${11 - n}s`),
  );
});

test('attempts of different kinds between two writes are counted each, and the newest is the last', async () => {
  let searched = 0;
  const failures = made(() => (++searched === 1 ? 'timestamp-zero' : undefined));
  const suspect = {} as NonNullable<Attempt['suspect']>;
  failures.note(attempt('B', { at: 1000, suspect }));
  failures.note(attempt('B', { at: 2000, suspect, address: '10.0.0.2' }));
  failures.note(attempt('B', { at: 2500, suspect, address: '10.0.0.3' }));
  failures.note(attempt('B', { at: 3000, reason: 'other-imsi', claims: { imsi: '46000' } }));
  failures.note(attempt('B', { at: 3500, reason: 'other-imsi', claims: { imsi: '46001' } }));
  failures.note(attempt('B', { at: 4000, reason: 'other-imsi', claims: { imsi: '46000' } }));
  await failures.write();
  const expected = [
    { reason: 'other-imsi', imsi: '46000', times: 2, since: 3, at: 4 },
    { reason: 'other-imsi', imsi: '46001', times: 1, since: 3.5, at: 3.5 },
    { reason: 'wrong-digest', times: 2, since: 2, at: 2.5, address: '10.0.0.3' },
    { reason: 'wrong-digest', finding: 'timestamp-zero', times: 1, since: 1, at: 1, address: '10.0.0.1' },
  ].map((entry) => expect.objectContaining(entry) as unknown);
  expect(await recent('B')).toEqual(expected);
  const { rows } = await fixture.client.query(
    `SELECT failures, last_failure_reason, host(address) AS address, extract(epoch FROM first_failure_at)::int AS first,
       extract(epoch FROM last_failure_at)::int AS last FROM m2m.failure WHERE serial = 'B'`,
  );
  expect(rows).toEqual([
    { failures: '6', last_failure_reason: 'other-imsi', address: '10.0.0.1', first: 1, last: 4 },
  ]);
});

test('of more kinds between two writes than are kept all are counted', async () => {
  const failures = made();
  for (let n = 0; n < 12; n++) failures.note(attempt('C', { reason: `clock-ahead-by-${n}s`, at: 1000 + n }));
  await failures.write();
  expect((await recent('C')).map(({ reason }) => reason)).toEqual(
    Array.from({ length: 10 }, (_, n) => `clock-ahead-by-${11 - n}s`),
  );
  const { rows } = await fixture.client.query(`SELECT failures FROM m2m.failure WHERE serial = 'C'`);
  expect(rows).toEqual([{ failures: '12' }]);
});

test('serials that nobody has are noted within bounds, and leave room for those that somebody has', async () => {
  const failures = made();
  for (let n = 0; n < 1_000; n++) failures.note(attempt(`S-${n}`, { known: false }));
  failures.note(attempt('KNOWN'));
  await failures.write();
  const { rows } = await fixture.client.query<{ serial: string }>(
    `SELECT serial FROM m2m.failure WHERE serial LIKE 'S-%' OR serial = 'KNOWN' ORDER BY serial`,
  );
  expect(rows).toHaveLength(26);
  expect(rows[0]).toEqual({ serial: 'KNOWN' });
});

test('once they are written there is room for as many others', async () => {
  const failures = made();
  for (const round of [1, 2]) {
    for (let n = 0; n < 100; n++) failures.note(attempt(`R${round}-${n}`, { known: false }));
    await failures.write();
  }
  const { rows } = await fixture.client.query(`SELECT FROM m2m.failure WHERE serial ~ '^R[12]-'`);
  expect(rows).toHaveLength(50);
});

test('gateways that write at the same time lock rows in the same order', async () => {
  const written: unknown[] = [];
  const query: Database['query'] = (statement) => {
    written.push(statement.values?.[0]);
    return database.query(statement);
  };
  const failures = new Failures({
    ...{ database: { available: true, query } as unknown as Database, ring: () => ring },
    search: function* () {
      yield;
      return undefined;
    },
    onError: (error) => errors.push(error),
  });
  for (const serial of ['O-3', 'O-1', 'O-2']) failures.note(attempt(serial));
  await failures.write();
  expect(written.map((serials) => String(serials).match(/O-\d/g))).toEqual([['O-1', 'O-2', 'O-3']]);
});

test('of serials that nobody has the latest ten thousand are kept, of terminals all', async () => {
  const { serial } = await provision(fixture.client);
  await fixture.client.query(
    `INSERT INTO m2m.failure SELECT 'Z-' || n, 1, now(), now() + n * interval '1 s', 'unknown-serial', NULL::inet
     FROM generate_series(1, 10100) AS n
     UNION ALL SELECT $1, 1, now() - interval '1 year', now() - interval '1 year', 'wrong-digest', NULL::inet`,
    [serial],
  );
  await new Housekeeping(database, (error) => errors.push(error)).runAll();
  const { rows } = await fixture.client.query(
    `SELECT count(*)::int AS all, count(*) FILTER (WHERE serial = $1)::int AS known,
       min(substr(serial, 3)::int) FILTER (WHERE serial LIKE 'Z-%') AS oldest FROM m2m.failure`,
    [serial],
  );
  expect(rows).toEqual([{ all: 10_001, known: 1, oldest: 101 }]);
});

test('a serial that is just being noted is passed over, and goes the next time', async () => {
  const { client } = fixture;
  await client.query('DELETE FROM m2m.failure');
  await client.query(
    `INSERT INTO m2m.failure SELECT 'Y-' || n, 1, now(), now() + n * interval '1 s', 'unknown-serial', NULL::inet
     FROM generate_series(1, 10003) AS n`,
  );
  const noting = await fixture.open();
  await noting.query('BEGIN');
  await noting.query(`UPDATE m2m.failure SET failures = failures + 1 WHERE serial = 'Y-2'`);
  const housekeeping = new Housekeeping(database, (error) => errors.push(error));
  const left = async () => {
    await housekeeping.runAll();
    const { rows } = await client.query<{ serial: string }>(
      'SELECT serial FROM m2m.failure ORDER BY last_failure_at LIMIT 2',
    );
    return rows.map(({ serial }) => serial);
  };
  expect(await left()).toEqual(['Y-2', 'Y-4']);
  await noting.query('ROLLBACK');
  expect(await left()).toEqual(['Y-4', 'Y-5']);
});

test('a near miss is searched for some suspects only, and noted with its attempt', async () => {
  let searched = 0;
  const failures = made(() => (++searched === 1 ? 'timestamp-zero' : undefined));
  const suspect = {} as NonNullable<Attempt['suspect']>;
  for (let n = 0; n < 50; n++) failures.note(attempt(`N-${String(n).padStart(2, '0')}`, { suspect }));
  await failures.write();
  expect(searched).toBe(3);
  expect(await recent('N-00')).toEqual([expect.objectContaining({ finding: 'timestamp-zero' })]);
  expect(await recent('N-01')).toEqual([
    expect.not.objectContaining({ finding: expect.anything() as unknown }),
  ]);
});

test('between the slices of a search everybody else has a turn', async () => {
  let [turns, isOver] = [0, false];
  const failures = made(() => undefined, 500);
  failures.note(attempt('T', { suspect: {} as NonNullable<Attempt['suspect']> }));
  const count = (): void => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  count();
  await failures.write();
  isOver = true;
  expect(turns).toBeGreaterThanOrEqual(500);
});

test('a replaced password that does not open costs nobody his note', async () => {
  const { serial } = await provision(fixture.client);
  await fixture.client.query(
    `UPDATE m2m.credential SET replaced_uplink_password = decode('01ffffffff' || repeat('00', 40), 'hex')
     WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)`,
    [serial],
  );
  const failures = made(() => 'timestamp-zero');
  failures.note(attempt(serial, { suspect: {} as NonNullable<Attempt['suspect']> }));
  await failures.write();
  expect(await recent(serial)).toEqual([expect.objectContaining({ finding: 'timestamp-zero' })]);
});

test('a login in between begins a new count', async () => {
  const { serial } = await provision(fixture.client);
  const failures = made();
  const counted = async (at: number) => {
    failures.note(attempt(serial, { at }));
    await failures.write();
    const { rows } = await fixture.client.query<Record<string, unknown>>(
      `SELECT failures::int, extract(epoch FROM first_failure_at)::int AS first FROM m2m.failure WHERE serial = $1`,
      [serial],
    );
    return rows[0];
  };
  await counted(1_000);
  expect(await counted(2_000)).toEqual({ failures: 2, first: 1 });
  await fixture.client.query(
    `UPDATE m2m.session SET last_login_at = to_timestamp(3)
     WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)`,
    [serial],
  );
  expect(await counted(4_000)).toEqual({ failures: 1, first: 4 });
  expect(await counted(5_000)).toEqual({ failures: 2, first: 4 });
});
