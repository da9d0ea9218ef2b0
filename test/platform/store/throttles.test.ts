/** Failed attempts of several processes in one table. */
import { steady } from '../../../src/platform/clock';
import type { Change } from '../../../src/platform/store/changeFeed';
import { delayAfter, type Verdict } from '../../../src/platform/flows/throttle';
import { Database, DatabaseAway } from '../../../src/platform/store/database';
import { Housekeeping } from '../../../src/platform/store/housekeeping';
import { Throttles } from '../../../src/platform/store/throttles';
import { judged } from '../../support/attempt';
import { call, NO_EVENTS, openFixture, refusal, type Fixture } from './sqlFixture';

/** No statement is given up because the machine is slow. */
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

beforeEach(() => fixture.client.query('DELETE FROM m2m.throttle'));

const made = () => new Throttles({ database, onError });

/** Frames that are judged, whatever delays stand: time is what the test says it is. */
function attempts(
  { throttle }: Throttles,
  times: number,
  serial: string,
  source: string,
  verdict: Verdict = 'failed',
  at = steady(),
): void {
  for (let i = 0; i < times; i++) throttle.leave(judged(serial, source), verdict, at);
}

const delay = ({ throttle }: Throttles, serial: string, source: string) =>
  throttle.delay(serial, source, steady());

const rows = async () =>
  (
    await fixture.client.query<{ row: string }>(
      `SELECT concat_ws(' ', serial, host(address), failures, delay) AS row FROM m2m.throttle ORDER BY serial, address`,
    )
  ).rows.map(({ row }) => row);

const throttled = async () =>
  (
    await fixture.client.query<Record<string, unknown>>(
      'SELECT *, until > last_at AS ahead FROM m2m.throttled, (SELECT max(last_failure_at) AS last_at FROM m2m.throttle) AS t ORDER BY serial, address',
    )
  ).rows;

/** What the feed tells of a lift. */
async function lifted(): Promise<Change[]> {
  const { rows: changes } = await fixture.client.query<{ serial: string; address: string | null }>(
    `DELETE FROM m2m.change WHERE action = 'lift_throttle' RETURNING serial, address::text AS address`,
  );
  return changes.map(({ serial, address }) => ({
    terminalId: 0,
    serial,
    action: 'lift_throttle',
    targeted: false,
    address: address ?? undefined,
  }));
}

test('failures of two processes add up, and a third one hears of them', async () => {
  const [one, other, third] = [made(), made(), made()];
  attempts(one, 8, 'T1', '10.0.0.1');
  await one.write();
  attempts(other, 8, 'T1', '10.0.0.1');
  expect(delay(other, 'T1', '10.0.0.1')).toBe(0);
  await other.write();
  expect(await rows()).toEqual([' 10.0.0.1 16 0', 'T1 10.0.0.1 16 60']);
  for (const looking of [one, third]) await looking.look();
  for (const each of [one, other, third]) {
    expect(delay(each, 'T1', '10.0.0.1')).toBeGreaterThan(0);
    expect(delay(each, 'T1', '10.0.0.1')).toBeLessThanOrEqual(60_000);
    expect(delay(each, 'T1', '10.0.0.2')).toBe(0);
    expect(delay(each, 'T2', '10.0.0.1')).toBe(0);
  }
});

test('a delay begins with its failure, however late that is written', async () => {
  const throttles = made();
  attempts(throttles, 13, 'T1', '10.0.0.1', 'failed', steady() - 1_500);
  await throttles.write();
  const { rows: written } = await fixture.client.query<{ late: number }>(
    `SELECT extract(epoch FROM expires_at - interval '10 minutes' - last_failure_at)::float8 AS late
     FROM m2m.throttle WHERE serial = 'T1'`,
  );
  expect(written[0]!.late).toBeGreaterThanOrEqual(1.5);
  // A later failure that another process has written stays the latest.
  const other = made();
  attempts(other, 1, 'T1', '10.0.0.1', 'failed', steady() - 600_000);
  const latest = 'SELECT max(last_failure_at) AS at FROM m2m.throttle';
  const { rows: before } = await fixture.client.query(latest);
  await other.write();
  expect((await fixture.client.query(latest)).rows).toEqual(before);
});

test('one that waited long to be written is not overlooked', async () => {
  const [one, other] = [made(), made()];
  await other.look();
  attempts(one, 20, 'T1', '10.0.0.1', 'failed', steady() - 30_000);
  await one.write();
  await other.look();
  expect(delay(other, 'T1', '10.0.0.1')).toBeGreaterThan(0);
});

test('an address is slowed down for what it does on all of them', async () => {
  const [one, other] = [made(), made()];
  for (let i = 0; i < 600; i++) attempts(one, 1, `T${i}`, '10.0.0.1');
  await one.write();
  // A slow machine need not be done within a minute.
  await fixture.client.query(`UPDATE m2m.throttle SET expires_at = now() + interval '1 hour'`);
  for (let i = 0; i < 600; i++) attempts(other, 1, `S${i}`, '10.0.0.1');
  await other.write();
  expect(delay(one, 'X', '10.0.0.1')).toBe(0);
  // Its own thousandth is long in the past by then; the next one is enough.
  await one.look();
  attempts(one, 1, 'X', '10.0.0.1');
  expect(delay(one, 'Y', '10.0.0.1')).toBeGreaterThan(0);
  expect(await throttled()).toMatchObject([
    { serial: null, address: '10.0.0.1', failures: '1200', ahead: true },
  ]);
});

test('the delays in SQL are those of the rules', async () => {
  const { rows: found } = await fixture.client.query<{ serial: string; failures: number; delay: number }>(
    `INSERT INTO m2m.throttle (serial, address, failures, expires_at)
     SELECT serial, '10.0.0.0'::inet + n, n, now() FROM unnest(ARRAY['', 'T']) AS serial, generate_series(1, 1100) AS n
     RETURNING serial, failures::int, delay`,
  );
  expect(found).toHaveLength(2200);
  for (const { serial, failures, delay: seconds } of found)
    expect([serial, failures, seconds * 1000]).toEqual([
      serial,
      failures,
      delayAfter({ serial, source: '' }, failures),
    ]);
});

test('a login ends the count of its pair everywhere, not that of its address', async () => {
  const [one, other] = [made(), made()];
  attempts(one, 12, 'T1', '10.0.0.1');
  await one.write();
  await other.look();
  attempts(other, 1, 'T1', '10.0.0.1', 'passed');
  await other.look();
  expect(delay(other, 'T1', '10.0.0.1')).toBe(0);
  await other.write();
  await other.look();
  expect(await rows()).toEqual([' 10.0.0.1 12 0']);
  expect(delay(other, 'T1', '10.0.0.1')).toBe(0);
});

test('IPv6 is counted by its network of 64 bits', async () => {
  const [one, other] = [made(), made()];
  attempts(one, 20, 'T1', '2001:db8:0:0::/64');
  await one.write();
  await other.look();
  expect(delay(other, 'T1', '2001:db8:0:0::/64')).toBeGreaterThan(0);
  expect((await throttled()).map(({ address }) => address)).toEqual(['2001:db8::/64']);
  await fixture.client.query(`SELECT m2m.lift_throttle(address => '2001:db8::77')`);
  other.onChanges(await lifted());
  expect(delay(other, 'T1', '2001:db8:0:0::/64')).toBe(0);
  expect(await rows()).toEqual([]);
});

test.each([
  ['a serial', { serial: 'T1', address: null }, ['T2 a', 'T2 b']],
  ['an address', { serial: null, address: '10.0.0.1' }, ['T1 b', 'T2 b']],
  ['a network', { serial: null, address: '10.0.0.9/8' }, []],
  ['both', { serial: 'T1', address: '10.0.0.1' }, ['T1 b', 'T2 a', 'T2 b']],
])('lifting %s', async (_, lift, left) => {
  const throttles = made();
  const sources = { a: '10.0.0.1', b: '10.0.0.2' };
  for (const source of Object.values(sources))
    for (const serial of ['T1', 'T2']) attempts(throttles, 20, serial, source);
  await throttles.write();
  expect(await call(fixture.client, 'lift_throttle', lift)).toBe('lifted');
  throttles.onChanges(await lifted());
  const slowed = ['T1', 'T2'].flatMap((serial) =>
    Object.entries(sources)
      .filter(([, source]) => delay(throttles, serial, source) > 0)
      .map(([name]) => `${serial} ${name}`),
  );
  expect(slowed).toEqual(left);
  expect(await throttled()).toHaveLength(left.length);
  const { rows: audit } = await fixture.client.query(
    `SELECT actor = session_user AS own, action, serial, what FROM m2m.audit ORDER BY at DESC LIMIT 1`,
  );
  expect(audit[0]).toMatchObject({ own: true, action: 'lift_throttle', serial: lift.serial ?? '' });
});

test('what cannot be lifted', async () => {
  expect(await call(fixture.client, 'lift_throttle', { serial: 'nobody' })).toBe('unchanged');
  expect(await refusal(call(fixture.client, 'lift_throttle', {}))).toEqual({
    message: 'serial: must not be NULL where address is NULL too: name a serial, an address, or both',
    code: '22023',
  });
  const wrong = await refusal(call(fixture.client, 'lift_throttle', { serial: 'no serial' }));
  expect(wrong.message).toContain("serial: 'no serial' is no serial");
});

test('counts whose time is up begin anew, show nowhere and are cleaned up', async () => {
  const throttles = made();
  attempts(throttles, 12, 'T1', '10.0.0.1');
  await throttles.write();
  await fixture.client.query('UPDATE m2m.throttle SET expires_at = now()');
  expect(await throttled()).toEqual([]);
  const other = made();
  attempts(other, 1, 'T1', '10.0.0.1');
  await other.write();
  expect(await rows()).toEqual([' 10.0.0.1 1 0', 'T1 10.0.0.1 1 0']);
  await fixture.client.query('UPDATE m2m.throttle SET expires_at = now()');
  await new Housekeeping(database, onError).runAll();
  expect(await rows()).toEqual([]);
});

test('a serial is remembered from its latest failure on, an address from its first', async () => {
  const throttles = made();
  const longerThan = async (time: string) => {
    const { rows: left } = await fixture.client.query<Record<string, unknown>>(
      `SELECT serial, failures::int, expires_at - now() > $1 AS longer FROM m2m.throttle ORDER BY 1`,
      [time],
    );
    return left;
  };
  attempts(throttles, 1, 'T1', '10.0.0.1');
  await throttles.write();
  expect(await longerThan('1 minute')).toEqual([
    { serial: '', failures: 1, longer: false },
    { serial: 'T1', failures: 1, longer: true },
  ]);
  await fixture.client.query(`UPDATE m2m.throttle SET expires_at = now() + interval '9 seconds'`);
  attempts(throttles, 1, 'T1', '10.0.0.1');
  await throttles.write();
  expect(await longerThan('9 seconds')).toEqual([
    { serial: '', failures: 2, longer: false },
    { serial: 'T1', failures: 2, longer: true },
  ]);
});

test('what could not be written is written later, unless the database will not have it; the end writes the rest', async () => {
  const told: unknown[] = [];
  const wrong = new Error('a fault of ours');
  const failing = [new DatabaseAway('away', false), wrong];
  const query: Database['query'] = (statement) =>
    failing.length > 0 ? Promise.reject(failing.shift()!) : database.query(statement);
  const throttles = new Throttles({
    database: { available: true, query } as unknown as Database,
    onError: (error) => void told.push(error),
  });
  attempts(throttles, 1, 'T1', '10.0.0.1');
  await throttles.write();
  attempts(throttles, 1, 'T2', '10.0.0.2');
  await throttles.write();
  attempts(throttles, 1, 'T3', '10.0.0.3');
  await throttles.stop();
  expect(await rows()).toEqual([' 10.0.0.3 1 0', 'T3 10.0.0.3 1 0']);
  expect(told).toEqual([expect.any(DatabaseAway), wrong]);

  failing.push(new DatabaseAway('away', false));
  attempts(throttles, 1, 'T4', '10.0.0.4');
  await throttles.write();
  await throttles.write();
  expect(await rows()).toContain('T4 10.0.0.4 1 0');
});

test('a flood of new serials is written in bounded lots; a serial that is tried again comes first', async () => {
  const throttles = made();
  for (let i = 0; i < 20_000; i++) attempts(throttles, 1, `S${i}`, '10.0.0.1');
  attempts(throttles, 12, 'T1', '10.0.0.2');
  await throttles.write();
  const written = await rows();
  // Two addresses, the serial that was tried again, and a tenth of a lot of the others.
  expect(written).toHaveLength(53);
  expect(written).toContain('T1 10.0.0.2 12 4');
  await throttles.write();
  expect(await rows()).toHaveLength(53);
});

test('processes that write the same counts at the same time wait for each other', async () => {
  const many = Array.from({ length: 6 }, made);
  for (let round = 0; round < 5; round++) {
    many.forEach((throttles, process) => {
      for (let i = 0; i < 200; i++)
        attempts(throttles, 1, `T${process % 2 === 0 ? i : 199 - i}`, `10.0.${i % 7}.1`);
    });
    await Promise.all(many.map((throttles) => throttles.write()));
  }
  const { rows: sums } = await fixture.client.query<{ sum: string }>(
    `SELECT sum(failures) FROM m2m.throttle WHERE serial = ''`,
  );
  expect(Number(sums[0]!.sum)).toBe(6 * 5 * 200);
});
