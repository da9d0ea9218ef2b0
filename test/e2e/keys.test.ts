/** The gateway's keys while it runs: new ones without a restart, old ones out of use, the wrong ones refused. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { m2m, requireBuild, type Ended } from '../support/cli';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { loginForKey, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';

let database: TestDatabase;
let home: TestHome;
let one: GatewayProcess;
let two: GatewayProcess;
let operator: Operator;
/** Its copy of the key file is brought by hand, as to another machine. */
let otherKeyFile: string;

beforeAll(async () => {
  requireBuild('crypto', 'cli');
  database = await createDatabase();
  home = testHome();
  otherKeyFile = join(home.directory, 'copy.json');
  copyFileSync(home.keyFile, otherKeyFile);
  const start = (name: string, file: string, workers: string) =>
    startGateway({
      databaseUrl: database.url,
      home,
      environment: { M2M_GATEWAY_ID: name, M2M_KEY_FILE: file, M2M_WORKERS: workers },
    });
  // Of two with workers, since each process reads the file and changes over by itself.
  [one, two] = await Promise.all([start('one', home.keyFile, '1'), start('two', otherKeyFile, '2')]);
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await Promise.all([one?.stop(), two?.stop()]);
  await database?.drop();
  home?.remove();
});

const reaching = () => ({ DATABASE_URL: database.url, M2M_DATABASE_TIMEOUT: '120' });

const keys = (command: string[], file = home.keyFile, watch?: (out: string) => void): Promise<Ended> =>
  m2m(['keys', ...command], watch, { ...process.env, ...reaching(), M2M_KEY_FILE: file });

const sealingIds = (): string[] =>
  (JSON.parse(readFileSync(home.keyFile, 'utf8')) as { sealing: { id: string }[] }).sealing.map(
    ({ id }) => id,
  );

let sequence = 0;
async function loggedIn(gateway: GatewayProcess, terminal: Terminal): Promise<number> {
  const socket = await RawTerminal.open(gateway);
  const { result } = await socket.ask(loginForKey(terminal, { sequence: (sequence += 1) }));
  socket.close();
  return result;
}

async function keyOfUplink({ serial }: Terminal): Promise<string> {
  const [row] = await operator.sql<{ id: string }>(
    `SELECT encode(substr(c.uplink_password, 1, 5), 'hex') AS id FROM m2m.credential AS c
     JOIN m2m.terminal AS t ON t.id = c.terminal_id WHERE t.serial = $1`,
    [serial],
  );
  return row!.id.slice(2);
}

async function keyOnceSealed(terminal: Terminal): Promise<string> {
  await sealed(operator, terminal);
  return keyOfUplink(terminal);
}

test('a new sealing key is used once every gateway holds it; reseal frees the old one', async () => {
  const [old] = sealingIds();
  const before = await operator.provision();
  expect(await keyOnceSealed(before)).toBe(old);
  expect(await loggedIn(one, before)).toBe(RESULT.OK);
  expect((await keys(['rotate'])).code).toBe(0);
  const [, fresh] = sealingIds();
  await one.logged((line) => /read again/.test(String(line['message'])));
  const between = await operator.provision();
  expect(await keyOnceSealed(between)).toBe(old);
  const early = await keys(['reseal']);
  expect([early.code, early.err]).toEqual([
    1,
    expect.stringMatching(/gateway (one, two|two, one|two) does not hold key/),
  ]);

  copyFileSync(home.keyFile, otherKeyFile);
  await two.logged((line) => String(line['message']).includes(`under key ${fresh!}`));
  await one.logged((line) => String(line['message']).includes(`under key ${fresh!}`));
  const after = await operator.provision();
  expect(await keyOnceSealed(after)).toBe(fresh);
  for (const gateway of [one, two])
    for (const terminal of [before, between, after])
      expect(await loggedIn(gateway, terminal)).toBe(RESULT.OK);

  const other = await Operator.connect(database.url);
  await other.sql('BEGIN');
  await other.sql(`SELECT m2m.set_credentials($1, base_key => $2)`, [between.serial, Buffer.alloc(16)]);
  const passedOver = await keys(['reseal']);
  expect([passedOver.code, passedOver.err]).toEqual([0, '']);
  // Three of the terminal in hand; a gateway may hold the session of another at that moment, too.
  expect(passedOver.out).toMatch(
    new RegExp(`key ${old!} still seals [3-9] values, which were held by others`),
  );
  // What says which key file fits goes with the last value under it, and not before.
  const noted = async () =>
    (await operator.sql<{ id: string }>(`SELECT encode(key_id, 'hex') AS id FROM m2m.sealing_key`)).map(
      ({ id }) => id,
    );
  expect((await noted()).sort()).toEqual([old, fresh].sort());
  await other.sql('ROLLBACK');
  await other.close();

  const done = await keys(['reseal']);
  expect([done.code, done.err]).toEqual([0, '']);
  for (const { log } of [one, two])
    expect(
      log.filter((line) => line['event.action'] === 'keys-changed').map((line) => line['message']),
    ).toEqual(['the key file was read again', `values are sealed under key ${fresh!} from now on`]);
  expect(done.out).toContain(`key ${old!} may be taken out of the key file`);
  expect(await noted()).toEqual([fresh]);
  expect(await keyOfUplink(before)).toBe(fresh);
  expect((await keys(['list'])).out).toMatch(new RegExp(`${old!}.* 0 values sealed under it`));

  const content = JSON.parse(readFileSync(home.keyFile, 'utf8')) as { sealing: { id: string }[] };
  content.sealing = content.sealing.filter(({ id }) => id !== old);
  for (const file of [home.keyFile, otherKeyFile])
    writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
  const checked = await keys(['check']);
  expect([checked.code, checked.err]).toEqual([0, '']);
  const [fit, use] = checked.out.split('\n');
  const name = /\/(test_\w+)/.exec(database.url)![1]!;
  expect(fit).toContain(`${home.keyFile} fits database ${name} `);
  // Two secrets and a base key of each terminal, its session key, and replaced values none.
  expect(use).toBe(`  key ${fresh!}: 12 values sealed under it`);
  expect(await loggedIn(one, before)).toBe(RESULT.OK);
});

test('reseal waits for what a gateway has under way, sealed under the key before', async () => {
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  expect(await loggedIn(one, terminal)).toBe(RESULT.OK);
  const old = sealingIds().at(-1)!;
  const [held] = await operator.sql<{ session_key: Buffer }>(SESSION_OF, [terminal.serial]);
  expect((await keys(['rotate'])).code).toBe(0);
  copyFileSync(home.keyFile, otherKeyFile);
  const fresh = sealingIds().at(-1)!;
  for (const gateway of [one, two])
    await gateway.logged((line) => String(line['message']).includes(`under key ${fresh}`));

  const gateway = new Client({ connectionString: database.url, application_name: 'm2m-gateway' });
  await gateway.connect();
  await gateway.query('BEGIN');
  await gateway.query(
    `UPDATE m2m.session AS s SET session_key = $2 FROM m2m.terminal AS t WHERE t.id = s.terminal_id AND t.serial = $1`,
    [terminal.serial, held!.session_key],
  );
  let out = '';
  const done = keys(['reseal'], home.keyFile, (soFar) => (out = soFar));
  await eventually('a line about what is waited for', () => out.includes('waiting for'));
  expect(out).toMatch(/^waiting for what a gateway has under way, pid \d+ .*pg_terminate_backend\(pid\)\n$/);
  await gateway.query('COMMIT');
  await gateway.end();
  expect((await done).out).toContain(`key ${old} may be taken out of the key file`);
  const [after] = await operator.sql<{ session_key: Buffer }>(SESSION_OF, [terminal.serial]);
  expect(after!.session_key.toString('hex', 1, 5)).toBe(fresh);
});

const SESSION_OF = `SELECT s.session_key FROM m2m.session AS s JOIN m2m.terminal AS t ON t.id = s.terminal_id
  WHERE t.serial = $1`;

test('a key file that lost the key in use is not taken over', async () => {
  const right = readFileSync(otherKeyFile, 'utf8');
  const other = testHome();
  copyFileSync(other.keyFile, otherKeyFile);
  await two.logged((line) => line['event.action'] === 'keys-changed' && line['event.outcome'] === 'failure');
  const terminal = await operator.provision();
  expect(await loggedIn(two, terminal)).toBe(RESULT.OK);
  const checked = await keys(['check'], other.keyFile);
  expect([checked.code, checked.err]).toEqual([1, expect.stringContaining('does not fit this database')]);
  writeFileSync(otherKeyFile, right, { mode: 0o600 });
  other.remove();
});

test('init refuses where there is a file, and where the database holds sealed data', async () => {
  expect((await keys(['init'])).err).toContain('is there already');
  const refused = await keys(['init'], join(home.directory, 'new.json'));
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('holds data sealed under key')]);
});

test('a production line: one packet a line, and a second run mints only what is missing', async () => {
  const terminals = [await operator.provision(), await operator.provision()];
  const [csv, out] = [join(home.directory, 'line.csv'), join(home.directory, 'packets.csv')];
  const lines = terminals.map(({ serial }, i) => `${serial},"chip, ${i}"`);
  const mint = () =>
    m2m(['packet', 'mint', '--csv', csv, '--out', out], undefined, {
      ...process.env,
      ...reaching(),
      M2M_KEY_FILE: home.keyFile,
    });
  writeFileSync(csv, `serial,hardware_id\n${lines[0]!}\n`);
  expect(await mint()).toMatchObject({ code: 0, err: expect.stringContaining('1 packets minted') as string });
  const first = readFileSync(out, 'utf8');
  writeFileSync(csv, `serial,hardware_id\n${lines.join('\n')}\n`);
  writeFileSync(out, `${first}${terminals[1]!.serial},01`);
  expect(await mint()).toMatchObject({
    code: 0,
    err: expect.stringContaining('1 packets minted, 1 were') as string,
  });
  expect(readFileSync(out, 'utf8').startsWith(first)).toBe(true);
  expect(readFileSync(out, 'utf8').trimEnd().split('\n')).toHaveLength(3);
  writeFileSync(out, 'serial,pa');
  expect(await mint()).toMatchObject({ code: 0 });
  expect(readFileSync(out, 'utf8').split('\n').slice(0, 2)).toEqual([
    'serial,packet',
    expect.stringMatching(`^${terminals[0]!.serial},[0-9a-f]+$`),
  ]);
  const keyless = await operator.provision({ baseKeySize: null });
  for (const [content, says] of [
    ['serial,hardware_id\nT-1\n', /line\.csv: .* on line 2/],
    ['serial,chip\nT-1,x\n', /line\.csv: line 1 has no column hardware_id/],
    ['serial,hardware_id\nT-1,a\nT-1,b\n', /line\.csv, line 3: serial T-1 stands in line 2 already/],
    ['serial,hardware_id\n\nT-1,a\n', /line\.csv, line 3: serial: T-1 is not provisioned/],
    [`serial,hardware_id\n${keyless.serial},a\n`, /line\.csv, line 2: serial: \S+ has no base key/],
    ['hardware_id,serial,hardware_id\na,T-1,b\n', /line\.csv: line 1 has column hardware_id twice/],
    [Buffer.from('serial,hardware_id\nT-1,a\nT-2,\xe9\n', 'latin1'), /line\.csv: line 3 is not UTF-8/],
  ] as const) {
    writeFileSync(csv, content);
    expect(await mint()).toMatchObject({ code: 1, err: expect.stringMatching(says) as string });
  }
});

test('wrong usage is exit 2', async () => {
  const runs = await Promise.all([
    m2m(['packet', 'mint', 'T-1']),
    m2m(['packet', 'mint', '--hardware-id', 'x']),
    m2m(['keys', 'nonsense']),
  ]);
  expect(runs.map(({ code }) => code)).toEqual([2, 2, 2]);
});
