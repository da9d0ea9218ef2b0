/** What whoever runs the gateway counts on: settings, limits, health, the way it ends, a database that goes away. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded, type EmbeddedServer } from '../../src/platform/store/embedded';
import { migrate } from '../../src/platform/store/migrate';
import { createDatabase, type TestDatabase } from '../support/database';
import {
  runCommand,
  startGateway,
  testHome,
  type GatewayProcess,
  type LogLine,
  type TestHome,
} from '../support/gateway';
import { Operator } from '../support/operator';
import { COMMAND, downlinkFlaw, heartbeat, login, logout, RESULT, sessionKey, TAG } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { loginAnswerOf, wmmpHeartbeat, wmmpLogin, wmmpLogout } from '../support/wmmpOracle';

const SHUTTING_DOWN = 4;
/** No machine is too slow for what these tests are about. */
const PATIENT = { M2M_DATABASE_TIMEOUT: '120' };

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
const running: GatewayProcess[] = [];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => gateway.kill()));
});

afterAll(async () => {
  await operator?.close();
  await database?.drop();
  home?.remove();
});

async function gatewayWith(environment: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({ databaseUrl: database.url, home, environment });
  running.push(gateway);
  return gateway;
}

describe('settings', () => {
  test.each([
    ['M2M_LISTEN', 'nonsense', /M2M_LISTEN holds "nonsense"; it may hold host:port/],
    ['M2M_LISTEN', '127.0.0.1:70000', /M2M_LISTEN/],
    ['M2M_SESSION_TTL', '-1', /M2M_SESSION_TTL holds "-1"; it may hold a whole number from 1 to/],
    ['M2M_LOG_LEVEL', 'loud', /M2M_LOG_LEVEL holds "loud"; it may hold error, warn, info, debug/],
    ['DATABASE_URL', 'mysql://root:hunter2@x/y', /DATABASE_URL holds something else; it may hold postgresql/],
    ['M2M_KEY_FILE', '/nowhere/keys.json', /key file \/nowhere\/keys.json: ENOENT/],
  ])('%s=%s ends with 2 and one line', async (variable, value, line) => {
    const { code, stdout, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: database.url,
      M2M_KEY_FILE: home.keyFile,
      [variable]: value,
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(line);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).not.toContain('hunter2');
  });

  test('a key file that others may read, or that is none, ends with 2', async () => {
    const file = join(home.directory, 'bad.json');
    writeFileSync(file, '{"version":1}');
    chmodSync(file, 0o644);
    const open = await runCommand(['serve'], { DATABASE_URL: database.url, M2M_KEY_FILE: file });
    expect(open).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/others may read it \(mode 0644\)/) as string,
    });
    chmodSync(file, 0o600);
    const none = await runCommand(['serve'], { DATABASE_URL: database.url, M2M_KEY_FILE: file });
    expect(none).toMatchObject({ code: 2, stderr: expect.stringMatching(/bad\.json: sealing: /) as string });
  });

  test('keys that do not fit the database end with 1, and say which key is missing', async () => {
    const gateway = await gatewayWith();
    await gateway.stop();
    const other = testHome();
    const { code, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: database.url,
      M2M_KEY_FILE: other.keyFile,
      M2M_LISTEN: '127.0.0.1:0',
      M2M_OPS_LISTEN: '127.0.0.1:0',
    });
    other.remove();
    expect(code).toBe(1);
    expect(stderr).toMatch(/the key file does not fit this database.*it holds no key [0-9a-f]{8}/);
  });

  test.each(['M2M_LISTEN', 'M2M_OPS_LISTEN'])('%s in use ends with 1 and one line', async (variable) => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const { code, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: database.url,
      M2M_KEY_FILE: home.keyFile,
      M2M_LISTEN: '127.0.0.1:0',
      M2M_OPS_LISTEN: '127.0.0.1:0',
      [variable]: `127.0.0.1:${port}`,
    });
    server.close();
    expect(code).toBe(1);
    expect(stderr.trim()).toBe(`m2m: ${variable}: 127.0.0.1:${port} is in use by another process`);
  });

  test.each([
    // An address of nobody (RFC 5737); a name that is too long to ask anybody for.
    ['1', '192.0.2.1:17750', '127.0.0.1:17750', 'EADDRNOTAVAIL'],
    ['2', '192.0.2.1:17750', '127.0.0.1:0', 'EADDRNOTAVAIL'],
    ['1', `${'x'.repeat(64)}:17750`, '127.0.0.1:0', 'ENOTFOUND'],
  ])('with %s workers %s, which cannot be listened on, is named', async (workers, listen, ops, why) => {
    const { code, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: database.url,
      M2M_KEY_FILE: home.keyFile,
      M2M_WORKERS: workers,
      M2M_LISTEN: listen,
      M2M_OPS_LISTEN: ops,
    });
    expect([code, stderr.trim()]).toEqual([1, `m2m: M2M_LISTEN: ${listen} cannot be listened on (${why})`]);
  });

  test('a database with a newer schema ends with 1', async () => {
    const newer = await createDatabase();
    const owner = await Operator.connect(newer.url);
    await owner.sql(`INSERT INTO m2m.migration (version, name, works_from) VALUES (999, 'future', 999)`);
    await owner.close();
    const { code, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: newer.url,
      M2M_KEY_FILE: home.keyFile,
    });
    await newer.drop();
    expect(code).toBe(1);
    expect(stderr).toMatch(/999/);
    expect(stderr).not.toMatch(/\bat .*\.js/);
  });

  test('a database that is not there ends with 1 and no password', async () => {
    const { code, stderr } = await runCommand(['serve'], {
      ...PATIENT,
      DATABASE_URL: 'postgresql://somebody:hunter2@127.0.0.1:1/nothing',
      M2M_KEY_FILE: home.keyFile,
    });
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).not.toContain('hunter2');
  });

  test.each(['serve', 'migrate', 'db-url', 'emulate', 'seal', 'packet', 'keys', 'inspect'])(
    '%s --help ends with 0',
    async (command) => {
      const { code, stdout } = await runCommand([command, '--help'], {});
      expect(code).toBe(0);
      expect(stdout).toMatch(new RegExp(`Usage: m2m ${command}`));
    },
  );

  test('db-url and migrate work with DATABASE_URL', async () => {
    const url = await runCommand(['db-url'], { DATABASE_URL: database.url });
    expect(url).toMatchObject({ code: 0, stdout: `${database.url}\n` });
    const migrated = await runCommand(['migrate'], { DATABASE_URL: database.url });
    expect(migrated).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/schema is at version/) as string,
    });
  });
});

describe('SIGTERM', () => {
  test('DISCONNECT 4 with RETRY_AFTER to who is in, unsigned to who is not, exit 0, twice does no harm', async () => {
    const gateway = await gatewayWith({ M2M_DRAIN: '2' });
    const terminal = await operator.provision();
    const [inside, outside] = await Promise.all([RawTerminal.open(gateway), RawTerminal.open(gateway)]);
    await inside.ask(login(terminal));
    gateway.child.kill('SIGTERM');
    gateway.child.kill('SIGTERM');
    const told = await inside.next();
    expect(told.command).toBe(COMMAND.DISCONNECT);
    expect(told.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(SHUTTING_DOWN);
    expect(told.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0)).toBeLessThanOrEqual(2000);
    expect(downlinkFlaw(told, terminal)).toBeUndefined();
    const unsigned = await outside.next();
    expect(unsigned).toMatchObject({ command: COMMAND.DISCONNECT, suite: 0, digest: undefined });
    expect([...unsigned.tlvs.keys()]).toEqual([TAG.DISCONNECT_REASON, TAG.RETRY_AFTER]);
    await Promise.all([inside.end(), outside.end()]);
    expect(await gateway.stop()).toBe(0);
    expect(gateway.log.at(-1)).toMatchObject({ 'event.action': 'gateway-stopped' });
    const [row] = await operator.sql('SELECT connected FROM m2m.live_session WHERE serial = $1', [
      terminal.serial,
    ]);
    expect(row).toEqual({ connected: false });
  });
});

describe('limits', () => {
  test('who has not logged in by the deadline is closed, whatever it trickles', async () => {
    const gateway = await gatewayWith({ M2M_LOGIN_DEADLINE: '3' });
    const started = Date.now();
    const [silent, slow] = await Promise.all([RawTerminal.open(gateway), RawTerminal.open(gateway)]);
    let trickled = 0;
    const trickle = setInterval(() => !slow.closed && trickled++ < 20 && slow.send(Buffer.of(0)), 700);
    await Promise.all([silent.end(), slow.end()]);
    clearInterval(trickle);
    expect(Date.now() - started).toBeGreaterThanOrEqual(3_000);
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    expect(metrics).toMatch(/m2m_refused_connections_total\{reason="login-deadline"\} 2/);
  });

  test('silence of 2.5 heartbeat intervals closes the connection, not the session; beats keep it', async () => {
    const gateway = await gatewayWith({ M2M_HEARTBEAT_INTERVAL: '3' });
    const [quiet, lively] = [await operator.provision(), await operator.provision()];
    const [one, two] = await Promise.all([RawTerminal.open(gateway), RawTerminal.open(gateway)]);
    await one.ask(login(quiet));
    await two.ask(login(lively));
    let sequence = 1;
    let [heard, gap] = [Date.now(), 0];
    const note = () => {
      gap = Math.max(gap, Date.now() - heard);
      heard = Date.now();
    };
    two.socket.on('data', note).once('close', note);
    const beat = setInterval(() => two.send(heartbeat(lively, { sequence: ++sequence })), 300);
    await one.end();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    clearInterval(beat);
    // Closed by right where one of both stood still for as long.
    if (two.closed) expect(gap).toBeGreaterThan(7_000);
    expect(await operator.sql('SELECT FROM m2m.live_session WHERE serial = $1', [quiet.serial])).toHaveLength(
      1,
    );
  });

  test('a session whose time is up: DISCONNECT 5', async () => {
    const gateway = await gatewayWith({ M2M_SESSION_TTL: '2', M2M_HEARTBEAT_INTERVAL: '60' });
    const terminal = await operator.provision();
    const socket = await RawTerminal.open(gateway);
    const answer = await socket.ask(login(terminal));
    expect(answer.tlvs.get(TAG.SESSION_TTL)!.readUInt32BE(0)).toBe(2);
    const told = await socket.next();
    expect(told.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(5);
    expect(downlinkFlaw(told, terminal)).toBeUndefined();
    await socket.end();
  });

  test('connections beyond the limit are closed, those within are served', async () => {
    const gateway = await gatewayWith({ M2M_MAX_CONNECTIONS: '3' });
    expect(gateway.log[0]!['message']).toContain('room for 3 connections');
    const terminal = await operator.provision();
    const inside = await Promise.all([1, 2, 3].map(() => RawTerminal.open(gateway)));
    const outside = await RawTerminal.open(gateway);
    await outside.end();
    expect((await inside[0]!.ask(login(terminal))).result).toBe(RESULT.OK);
  });

  test('the frame limit is the setting', async () => {
    const gateway = await gatewayWith({ M2M_MAX_FRAME: '300' });
    const terminal = await operator.provision();
    const padded = (length: number) =>
      login(terminal, { sequence: length, tlvs: [[0x7001, Buffer.alloc(length - 28 - 8 - 36 - 4)]] });
    expect(padded(300)).toHaveLength(300);
    const socket = await RawTerminal.open(gateway);
    expect((await socket.ask(padded(300))).result).toBe(RESULT.OK);
    expect((await (await RawTerminal.open(gateway)).ask(padded(301))).result).toBe(RESULT.MALFORMED);
  });
});

describe('HTTP', () => {
  test('health, readiness, the named series, and nothing else', async () => {
    const gateway = await gatewayWith();
    const terminal = await operator.provision();
    const socket = await RawTerminal.open(gateway);
    await socket.ask(login(terminal));
    const other = await RawTerminal.open(gateway);
    await other.ask(heartbeat(terminal, { frame: { command: 0x0777 } }));
    await other.end();
    expect((await fetch(`${gateway.ops}/healthz`)).status).toBe(200);
    expect((await fetch(`${gateway.ops}/readyz`)).status).toBe(200);
    expect((await fetch(`${gateway.ops}/`)).status).toBe(404);
    expect((await fetch(`${gateway.ops}/healthz`, { method: 'POST' })).status).toBe(405);
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    expect(metrics).toMatch(/m2m_logins_total\{result="ok",version="4.0"\} 1/);
    expect(metrics).toMatch(/m2m_frames_total\{command="unknown",result="malformed"\} 1/);
    for (const series of [
      'm2m_login_duration_seconds_count 1',
      'm2m_connections ',
      'm2m_sessions 1',
      'm2m_database_up 1',
    ]) {
      expect(metrics).toContain(series);
    }
  });
});

describe('while the database is away', () => {
  let server: EmbeddedServer;
  let directory: string;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'm2m-away-'));
    server = await startEmbedded({ dataDir: directory, parameters: { fsync: 'off' } });
    await migrate(server.url);
  });

  afterAll(async () => {
    await server?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('logins get BUSY, right or wrong; who is in beats on; afterwards all is well without a restart', async () => {
    const local = await Operator.connect(server.url);
    const [inside, waiting] = [await local.provision(), await local.provision()];
    const gateway = await startGateway({ databaseUrl: server.url, home: testHome() });
    running.push(gateway);
    const [one, two] = await Promise.all([RawTerminal.open(gateway), RawTerminal.open(gateway)]);
    expect((await one.ask(login(inside))).result).toBe(RESULT.OK);
    const modules = [
      await local.provision({ leastLogin: 'wmmp3' }),
      await local.provision({ leastLogin: 'wmmp3' }),
    ] as const;
    const [three, four] = await Promise.all([RawTerminal.openWmmp(gateway), RawTerminal.openWmmp(gateway)]);
    expect(loginAnswerOf(await three.ask(wmmpLogin(modules[0]))).result).toBe(0);
    await local.close();
    await server.stop();
    await gateway.logged((line) => line['event.action'] === 'database-lost');

    // A refusal would make a terminal of WMMP 3.0 give up: it gets no answer, and asks again.
    four.send(wmmpLogin(modules[1]));
    three.send(wmmpHeartbeat(modules[0]), wmmpLogout(modules[0], undefined, { reason: 9 }));
    expect((await three.next()).command).toBe(0x8003);
    const isSilence = (version: string, serial: string) => (line: LogLine) =>
      line['m2m.version'] === version && line['event.reason'] === 'busy' && line['device.id'] === serial;
    await gateway.logged(isSilence('3.0', modules[1].serial));
    await gateway.logged(isSilence('3.0', modules[0].serial));
    expect([three.received.length, four.received.length, three.closed, four.closed]).toEqual([
      2,
      0,
      false,
      false,
    ]);

    const wrong = { ...waiting, uplinkPassword: Buffer.from('wrong') };
    const unknown = { ...waiting, serial: 'NOBODY' };
    for (const asked of [
      login(waiting),
      login(wrong, { sequence: 2 }),
      login(unknown),
      login(inside, { sequence: 99 }),
    ]) {
      const answer = await two.askOnce(asked);
      expect(answer).toMatchObject({ result: RESULT.BUSY, suite: 0 });
      expect(answer.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0)).toBeGreaterThan(0);
    }
    expect((await one.ask(heartbeat(inside, { sequence: 2 }))).result).toBe(RESULT.OK);
    expect((await one.askOnce(sessionKey(inside, { sequence: 3 }))).result).toBe(RESULT.BUSY);
    expect((await one.askOnce(logout(inside, { sequence: 4 }))).result).toBe(RESULT.BUSY);
    const ready = await fetch(`${gateway.ops}/readyz`);
    expect({ status: ready.status, why: await ready.text() }).toEqual({
      status: 503,
      why: 'the database is away\n',
    });
    expect((await fetch(`${gateway.ops}/healthz`)).status).toBe(200);

    server = await startEmbedded({ dataDir: directory, parameters: { fsync: 'off' } });
    await gateway.logged((line) => line['event.action'] === 'database-back');
    expect((await two.ask(login(waiting, { sequence: 10 }))).result).toBe(RESULT.OK);
    const renewed = async (sequence: number) => (await one.askOnce(sessionKey(inside, { sequence }))).result;
    let [sequence, result] = [11, await renewed(11)];
    while (result === RESULT.BUSY || result === RESULT.INTERNAL) result = await renewed((sequence += 1));
    expect(result).toBe(RESULT.OK);

    for (let tries = 0; tries < 600 && four.received.length === 0; tries++) {
      four.send(wmmpLogin(modules[1]));
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(loginAnswerOf(await four.next()).result).toBe(0);
    expect((await three.ask(wmmpLogout(modules[0], undefined, { reason: 9 }))).command).toBe(0x8002);

    const again = await Operator.connect(server.url);
    await again.sql(`SELECT m2m.suspend_terminal($1, 'after the outage')`, [inside.serial]);
    expect((await one.next()).tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(2);
    await again.close();
    expect(await gateway.stop()).toBe(0);
  });
});
