import type { Client } from 'pg';
import { call, imeiOf, openFixture, provision, refusal, type Fixture } from './sqlFixture';

let fixture: Fixture;
let client: Client;

beforeAll(async () => {
  fixture = await openFixture();
  client = fixture.client;
});
afterAll(() => fixture.close());

type Line = Partial<
  Record<
    | 'serial'
    | 'imei'
    | 'imsi'
    | 'uplink_password'
    | 'downlink_password'
    | 'base_key'
    | 'msisdn'
    | 'least_login'
    | 'label',
    string
  >
>;

let last = 5_000_000;
/** A good line for a terminal that no other test has. */
function line(other: Line = {}): Line {
  last += 1;
  return {
    serial: `I-${last}`,
    imei: imeiOf(last),
    imsi: String(461000000000000 + last),
    uplink_password: 'uplink secret',
    downlink_password: '\\x00ff',
    ...other,
  };
}

async function load(...lines: Line[]): Promise<void> {
  await client.query(
    `INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password, base_key, msisdn, least_login, label)
     SELECT serial, imei, imsi, uplink_password, downlink_password, base_key, msisdn, least_login, label
     FROM jsonb_to_recordset($1) AS l (serial text, imei text, imsi text, uplink_password text, downlink_password text,
       base_key text, msisdn text, least_login text, label text)`,
    [JSON.stringify(lines)],
  );
}

async function imported(allOrNothing = true) {
  const { rows } = await client.query<{ line: string; column_name: string; reason: string }>(
    'SELECT * FROM m2m.import_terminals($1)',
    [allOrNothing],
  );
  return rows.map((row) => [Number(row.line), row.column_name, row.reason] as const);
}

const known = async (lines: Line[]): Promise<number> => {
  const { rowCount } = await client.query('SELECT FROM m2m.terminal WHERE serial = ANY ($1)', [
    lines.map(({ serial }) => serial),
  ]);
  return rowCount ?? 0;
};

test('good lines become terminals, as if provisioned one by one', async () => {
  const lines = [
    line(),
    line({ base_key: '\\x' + '0a'.repeat(16), msisdn: '+4915112345678', least_login: 'hmac', label: 'door' }),
  ];
  await load(...lines);
  expect(await imported()).toEqual([]);
  const { rows } = await client.query(
    `SELECT t.least_login, t.label, t.msisdn, c.uplink_password, c.downlink_password, c.base_key, c.plain, s.revision
     FROM m2m.terminal AS t JOIN m2m.credential AS c ON c.terminal_id = t.id JOIN m2m.session AS s ON s.terminal_id = t.id
     WHERE t.serial = ANY ($1) ORDER BY t.id`,
    [lines.map(({ serial }) => serial)],
  );
  const shared = {
    uplink_password: Buffer.from('\0uplink secret'),
    downlink_password: Buffer.from([0, 0, 255]),
    plain: true,
    revision: 1,
  };
  expect(rows).toEqual([
    { ...shared, least_login: 'md5', label: null, msisdn: null, base_key: null },
    {
      ...shared,
      least_login: 'hmac',
      label: 'door',
      msisdn: '+4915112345678',
      base_key: Buffer.alloc(17, 10).fill(0, 0, 1),
    },
  ]);
  const { rows: told } = await client.query(
    `SELECT (SELECT count(*) FROM m2m.change WHERE serial = ANY ($1))::int AS fed,
       (SELECT count(*) FROM m2m.audit WHERE serial = ANY ($1))::int AS audited, (SELECT count(*) FROM m2m.terminal_import)::int AS left`,
    [lines.map(({ serial }) => serial)],
  );
  expect(told).toEqual([{ fed: 2, audited: 2, left: 0 }]);
});

test('each thing that is wrong has its line and column, and no secret is told', async () => {
  const twice = line();
  const lines = [
    twice,
    line({ imei: '123456789012345' }),
    line({ serial: 'has blank', uplink_password: 'bad\\escape' }),
    line({ base_key: '\\x00', label: 'x'.repeat(201) }),
    { ...line(), serial: twice.serial! },
    {},
  ];
  await load(...lines);
  const faults = await imported();
  expect(faults.map(([at, column]) => `${at} ${column}`)).toEqual([
    '2 imei',
    '3 serial',
    '3 uplink_password',
    '4 base_key',
    '4 label',
    '5 serial',
    '6 downlink_password',
    '6 imei',
    '6 imsi',
    '6 serial',
    '6 uplink_password',
  ]);
  expect(JSON.stringify(faults)).not.toContain('bad\\\\escape');
  expect(faults[5]![2]).toBe('stands in line 1 already');
  expect(await known(lines)).toBe(0);
});

test('the good lines only, where that is asked for; numbering begins anew', async () => {
  const lines = [line(), line({ imsi: 'none' }), line()];
  await load(...lines);
  expect((await imported(false)).map(([at, column]) => [at, column])).toEqual([[2, 'imsi']]);
  expect(await known(lines)).toBe(2);
  await load(line({ imsi: 'none' }));
  expect((await imported()).map(([at]) => at)).toEqual([1]);
});

test('a terminal that is there: the same is harmless, anything else names what differs', async () => {
  const there = line({ msisdn: '4912345' });
  await load(there);
  await imported();
  await load({ ...there, uplink_password: 'not compared' });
  expect(await imported()).toEqual([]);
  const { rows } = await client.query(
    `SELECT encode(c.uplink_password, 'escape') AS kept FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id WHERE t.serial = $1`,
    [there.serial],
  );
  expect(rows).toEqual([{ kept: '\\000uplink secret' }]);
  const refused: [Line, string, string][] = [
    [{ ...there, label: 'new' }, 'serial', 'is already provisioned with another label'],
    [line({ imei: there.imei! }), 'imei', `${there.imei!} belongs to terminal ${there.serial!}`],
    [line({ imsi: there.imsi! }), 'imsi', `${there.imsi!} belongs to terminal ${there.serial!}`],
  ];
  for (const [bad, column, reason] of refused) {
    await load(bad);
    expect(await imported()).toEqual([[1, column, reason]]);
  }
});

test('lines that are imported are never joined one by one, however few the planner expects', async () => {
  const { rows } = await client.query<{ proconfig: string[] }>(
    `SELECT proconfig FROM pg_proc WHERE oid = 'm2m.import_good'::regproc`,
  );
  // test/long/import.test.ts sees what it is for: a second import of 100,000.
  expect(rows[0]!.proconfig).toEqual(expect.arrayContaining(['enable_nestloop=off']));
});

test('IMEI and IMSI of a retired terminal are free, its serial is not', async () => {
  const old = await provision(client);
  await call(client, 'retire_terminal', { serial: old.serial });
  await load(line({ imei: old.imei, imsi: old.imsi }), line({ serial: old.serial }));
  expect((await imported(false)).map(([at, column]) => [at, column])).toEqual([[2, 'serial']]);
});

test('who fails now, until it logs in', async () => {
  const terminal = await provision(client);
  await client.query(
    `INSERT INTO m2m.failure VALUES ($1, 3, now() - interval '2 minutes', now() - interval '1 minute', 'wrong-digest', '192.0.2.1')`,
    [terminal.serial],
  );
  const failing = async () =>
    (await client.query<{ serial: string }>('SELECT serial FROM m2m.failing_terminals')).rows.map(
      ({ serial }) => serial,
    );
  const loggedIn = (ago: string) =>
    client.query(
      `UPDATE m2m.session SET last_login_at = now() - $2::interval
       WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)`,
      [terminal.serial, ago],
    );
  expect(await failing()).toEqual([terminal.serial]);
  await loggedIn('90 s');
  expect(await failing()).toEqual([terminal.serial]);
  await loggedIn('0 s');
  expect(await failing()).toEqual([]);
});

test('at every edge an import takes what provision_terminal takes, and nothing else', async () => {
  const hex = (bytes: number) => '\\x' + '0a'.repeat(bytes);
  const digits = (count: number) => '4'.repeat(count);
  const imei = imeiOf(5_900_000).slice(0, 14);
  const edges: Line[] = [
    ...[
      hex(0),
      hex(1),
      hex(64),
      hex(65),
      'x'.repeat(64),
      'x'.repeat(65),
      'ü'.repeat(32),
      'ü'.repeat(33),
    ].flatMap((secret) => [{ uplink_password: secret }, { downlink_password: secret }]),
    ...[15, 16, 17, 23, 24, 25, 31, 32, 33].map((bytes) => ({ base_key: hex(bytes) })),
    ...Array.from({ length: 10 }, (_, digit) => ({ imei: `${imei}${digit}` })),
    ...[5, 6, 15, 16].map((count) => ({ imsi: digits(count) })),
    ...[4, 5, 15, 16].map((count) => ({ msisdn: `+${digits(count)}` })),
    ...[16, 17].map((count) => ({ serial: 'E'.repeat(count) })),
    ...[200, 201].map((count) => ({ label: 'x'.repeat(count) })),
    ...['wmmp3', 'mutual', 'sms'].map((way) => ({ least_login: way })),
  ];
  const lines = edges.map((edge) => line(edge));
  const refused: string[] = [];
  for (const [at, one] of lines.entries()) {
    const { uplink_password: up, downlink_password: down, base_key: key, ...rest } = one;
    const args = { ...rest, uplink_password: bytea(up), downlink_password: bytea(down) };
    await client.query('BEGIN');
    const { code, message } = await refusal(
      call(client, 'provision_terminal', key === undefined ? args : { ...args, base_key: bytea(key) }),
    );
    await client.query('ROLLBACK');
    if (code !== '') refused.push(`${at + 1} ${message.split(':')[0]}`);
  }
  await load(...lines);
  expect((await imported(false)).map(([at, column]) => `${at} ${column}`)).toEqual(refused);
  expect(refused).toHaveLength(edges.length - 20);
});

function bytea(text = ''): Buffer {
  return text.startsWith('\\x') ? Buffer.from(text.slice(2), 'hex') : Buffer.from(text);
}
