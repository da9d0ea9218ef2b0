/** Provisioning as operators do it: the scripts that they copy, CSV, and secrets that are sealed before they travel. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { newTerminal, Operator } from '../support/operator';
import { login, RESULT, type Terminal } from '../support/oracle';
import { describeWithPsql, psql, psqlEnd } from '../support/psql';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';

const ROOT = join(__dirname, '..', '..');
const script = (name: string) => ['-f', join(ROOT, 'scripts', 'provisioning', name)];
const set = (values: Record<string, string>) =>
  Object.entries(values).flatMap(([name, value]) => ['-v', `${name}=${value}`]);
const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`;

let database: TestDatabase;
let home: TestHome;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  gateway = await startGateway({ databaseUrl: database.url, home });
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await database?.drop();
  home?.remove();
});

let sequence = 0;
async function tryLogin(terminal: Terminal): Promise<number> {
  const socket = await RawTerminal.open(gateway);
  const { result } = await socket.ask(login(terminal, { sequence: (sequence += 1) }));
  socket.close();
  return result;
}

/** A serial that was just refused as unknown is known as soon as the gateway has heard of the import: within a second. */
function comesIn(terminal: Terminal): Promise<true> {
  return eventually(`a login of ${terminal.serial}`, async () => {
    if ((await tryLogin(terminal)) === RESULT.OK) return true;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return undefined;
  });
}

describeWithPsql('the scripts', () => {
  test('one terminal, twice, and retired', async () => {
    const terminal = newTerminal();
    const { serial, imei, imsi } = terminal;
    const secrets = { uplink: 'up secret', downlink: 'down secret', base_key: hex(terminal.baseKey) };
    const run = () =>
      psql(database.url, [...script('one-terminal.sql'), ...set({ serial, imei, imsi, ...secrets })]);
    expect(run()).toBe(`provisioned\n${serial}|${imei}|${imsi}|active|md5\n`);
    expect(run()).toContain('unchanged');
    expect(await tryLogin({ ...terminal, uplinkPassword: Buffer.from('up secret') })).toBe(RESULT.OK);
    expect(psql(database.url, [...script('retire.sql'), ...set({ serial })])).toBe('retired\n');
    expect(await tryLogin({ ...terminal, uplinkPassword: Buffer.from('up secret') })).toBe(RESULT.SUSPENDED);
  });

  test('a CSV: all or nothing, with what is wrong', async () => {
    const terminals = [newTerminal(), newTerminal()];
    const lines = terminals.map(
      ({ serial, imei, imsi, uplinkPassword, downlinkPassword }) =>
        `${serial},${imei},${imsi},${hex(uplinkPassword)},${hex(downlinkPassword)},,,md5,"gate, north"`,
    );
    const header = 'serial,imei,imsi,uplink_password,downlink_password,base_key,msisdn,least_login,label';
    const bad = [header, lines[0], lines[1]!.replace('md5', 'md4')].join('\n');
    const refused = psqlEnd(database.url, script('import-csv.sql'), `${bad}\n`);
    expect(refused.status).toBe(3);
    expect(refused.stdout).toMatch(/^2\|least_login\|'md4' is no login/);
    expect(refused.stderr).toMatch(/nothing was taken/);
    expect(await tryLogin(terminals[0]!)).toBe(RESULT.AUTH_FAILED);
    expect(psql(database.url, script('import-csv.sql'), `${[header, ...lines].join('\n')}\n`)).toBe('');
    for (const terminal of terminals) await comesIn(terminal);
  });

  test('a CSV: the good lines alone', async () => {
    const { serial, imei, imsi, uplinkPassword, downlinkPassword } = newTerminal();
    const good = `${serial},${imei},${imsi},${hex(uplinkPassword)},${hex(downlinkPassword)},,,,`;
    const args = [...script('import-csv.sql'), ...set({ all_or_nothing: 'false' })];
    const run = (line: string) => psqlEnd(database.url, args, `serial\n${good}\n${line}`);
    const some = run(`${serial}x,1,2,a,b,,,,\n`);
    expect([some.status, some.stderr]).toEqual([3, expect.stringMatching(/were not taken; all others were/)]);
    expect(some.stdout).toMatch(/^2\|imei\|/);
    const kept = () => operator.sql('SELECT FROM m2m.terminal_status WHERE serial LIKE $1', [`${serial}%`]);
    expect(await kept()).toHaveLength(1);
    expect(run('')).toMatchObject({ status: 0, stdout: '' });
    expect(await operator.sql('SELECT FROM m2m.terminal_import')).toEqual([]);
  });

  test.each([
    ['nothing', ''],
    ['a header line only', 'serial,imei,imsi\n'],
    ['a header line without its end', 'serial,imei,imsi'],
  ])('a CSV with %s: status 3, and it says so', (_what, csv) => {
    for (const all_or_nothing of ['true', 'false']) {
      const ended = psqlEnd(database.url, [...script('import-csv.sql'), ...set({ all_or_nothing })], csv);
      expect(ended).toMatchObject({ status: 3, stdout: '' });
      expect(ended.stderr).toContain('there is no terminal in the file');
    }
  });

  test('whatever the operator has set for his own psql and sessions', async () => {
    const { serial, imei, imsi } = newTerminal();
    const own = (args: string[], input = '') =>
      spawnSync('psql', [database.url, '-qAt', ...args], {
        input,
        encoding: 'utf8',
        env: {
          ...process.env,
          PSQLRC: psqlrc,
          PGOPTIONS: '-c role=m2m_operator -c default_transaction_isolation=serializable',
          PGCLIENTENCODING: 'LATIN1',
        },
      });
    const psqlrc = join(home.directory, 'psqlrc');
    writeFileSync(psqlrc, '\\set AUTOCOMMIT off\n\\set FETCH_COUNT 1\n\\set ON_ERROR_ROLLBACK on\n');
    const values = set({ serial, imei, imsi, uplink: 'up secret', downlink: 'down secret' });
    expect(own([...script('one-terminal.sql'), ...values])).toMatchObject({ status: 0, stderr: '' });
    expect(await operator.sql('SELECT FROM m2m.terminal_status WHERE serial = $1', [serial])).toHaveLength(1);
    expect(own([...script('retire.sql'), ...set({ serial: `${serial}-` })])).toMatchObject({ status: 3 });
    expect(own([...script('retire.sql'), ...set({ serial })])).toMatchObject({ status: 0 });
    const line = newTerminal();
    const csv = (label: string) => `serial\n${line.serial},${line.imei},${line.imsi},a,b,,,,${label}\n`;
    expect(own(script('import-csv.sql'), csv('one'))).toMatchObject({ status: 0, stderr: '' });
    expect(own(script('import-csv.sql'), csv('two'))).toMatchObject({ status: 3 });
    expect(
      await operator.sql(
        'SELECT serial, label, status FROM m2m.terminal_status WHERE serial = ANY ($1) ORDER BY label',
        [[serial, line.serial]],
      ),
    ).toEqual([
      { serial: line.serial, label: 'one', status: 'active' },
      { serial, label: null, status: 'retired' },
    ]);
  });

  test('SIMs change places', async () => {
    const [one, other] = [await operator.provision(), await operator.provision()];
    const out = psql(database.url, [
      ...script('swap-sims.sql'),
      ...set({ one: one.serial, other: other.serial }),
    ]);
    expect(out).toContain(`${one.serial}|${one.imei}|${other.imsi}`);
    expect(await tryLogin({ ...one, imsi: other.imsi })).toBe(RESULT.OK);
  });

  test('new passwords in waves: nobody is asked twice', () => {
    const run = () =>
      Number(
        psql(database.url, [
          ...script('new-passwords-in-waves.sql'),
          ...set({ wave: '2', since: '2026-01-01' }),
        ]),
      );
    const asked: number[] = [];
    do asked.push(run());
    while (asked.at(-1) !== 0);
    expect(asked[0]).toBe(2);
    const wished = psql(database.url, [
      '-c',
      "SELECT count(*) FROM m2m.terminal_status WHERE pending_change = 'wished: uplink, downlink'",
    ]);
    expect(Number(wished)).toBe(asked.reduce((sum, one) => sum + one));
  });
});

describeWithPsql('m2m seal', () => {
  const seal = (csv: string) =>
    spawnSync(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), 'seal'], {
      input: csv,
      encoding: 'utf8',
      env: { ...process.env, M2M_KEY_FILE: home.keyFile },
    });

  test('what it writes provisions, opens in the gateway, and holds no secret', async () => {
    const terminal = { ...newTerminal(), uplinkPassword: Buffer.from("it's plain") };
    const { serial, imei, imsi, downlinkPassword, baseKey } = terminal;
    const { stdout, stderr, status } = seal(
      `serial,imei,imsi,uplink_password,downlink_password,base_key,label\n` +
        `${serial},${imei},${imsi},it's plain,${hex(downlinkPassword)},${hex(baseKey)},"a ""gate"", 'n\\x'"\n`,
    );
    expect([status, stderr]).toEqual([0, '']);
    for (const secret of [
      "it's plain",
      "it''s plain",
      downlinkPassword.toString('hex'),
      baseKey.toString('hex'),
    ])
      expect(stdout).not.toContain(secret);
    expect(psql(database.url, [], stdout)).toBe('provisioned\n');
    expect(psql(database.url, [], stdout)).toBe('unchanged\n');
    const oldSession = `SET standard_conforming_strings = off; SET escape_string_warning = off;\n${stdout}`;
    expect(psql(database.url, [], oldSession)).toBe('unchanged\n');
    expect(await tryLogin(terminal)).toBe(RESULT.OK);
    const [row] = await operator.sql('SELECT label FROM m2m.terminal_status WHERE serial = $1', [serial]);
    expect(row).toEqual({ label: `a "gate", 'n\\x'` });
  });

  test('a label stays what it is in a session of another encoding', async () => {
    const { serial, imei, imsi } = newTerminal();
    const { stdout } = seal(
      `serial,imei,imsi,uplink_password,downlink_password,label\n${serial},${imei},${imsi},up,down,Tür 門\n`,
    );
    const latin = `SET client_encoding = 'LATIN1';\n${stdout}`;
    expect(psql(database.url, [], latin)).toBe('provisioned\n');
    const [row] = await operator.sql('SELECT label FROM m2m.terminal_status WHERE serial = $1', [serial]);
    expect(row).toEqual({ label: 'Tür 門' });
  });

  test.each([
    [
      'serial,imei,imsi,uplink_password,downlink_password\n',
      'line 1: there is no terminal behind the header',
    ],
    ['serial,imei\n', 'line 1: column imsi is missing'],
    ['serial,imei,imsi,uplink_password,downlink_password,colour\n', 'line 1: no column colour'],
    ['serial,imei,imsi,uplink_password,downlink_password\nT-1,1,1,,x\n', 'line 2: uplink_password is empty'],
    ['serial,imei,imsi,uplink_password,downlink_password\nT-1,1,1,\\xabc,x\n', 'line 2: uplink_password:'],
  ])('%j is refused by line, and its SQL changes nothing', (csv, why) => {
    const { stdout, stderr, status } = seal(csv);
    expect([status, stderr]).toEqual([1, expect.stringContaining(why)]);
    expect(stdout).toMatch(/^BEGIN;\nSET LOCAL client_encoding = 'UTF8';\n(SELECT .*\n)?ROLLBACK;\n/);
    // In a pipe only psql's exit status counts.
    expect(() => psql(database.url, [], stdout)).toThrow(/m2m seal failed: nothing was taken/);
  });

  test('values sealed under a key that the gateways do not use are refused', () => {
    const strangers = testHome();
    const { serial, imei, imsi } = newTerminal();
    const { stdout } = spawnSync(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), 'seal'], {
      input: `serial,imei,imsi,uplink_password,downlink_password\n${serial},${imei},${imsi},up,down\n`,
      encoding: 'utf8',
      env: { ...process.env, M2M_KEY_FILE: strangers.keyFile },
    });
    strangers.remove();
    expect(() => psql(database.url, [], stdout)).toThrow(/do not use/);
  });
});

test('a dump taken after sealing holds no secret in any encoding', async () => {
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  const tables = await operator.sql<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relnamespace = 'm2m'::regnamespace AND relkind = 'r'`,
  );
  const dump: string[] = [];
  for (const { name } of tables)
    dump.push(JSON.stringify(await operator.sql(`SELECT to_jsonb(r) FROM m2m.${name} AS r`)));
  for (const secret of [terminal.uplinkPassword, terminal.downlinkPassword, terminal.baseKey])
    for (const text of [secret.toString('hex'), secret.toString('base64'), secret.toString('latin1')])
      expect(dump.join('\n')).not.toContain(text);
});
