/** The log as a shipper sees it: rsyslog with the configuration that we hand out. Debian: rsyslog. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDatabase, type TestDatabase } from '../support/database';
import { describeWith } from '../support/debian';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type LogLine, type TestHome } from '../support/gateway';
import { newTerminal, Operator } from '../support/operator';
import { login, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const SHIPPED = join(__dirname, '..', '..', 'scripts', 'logging', 'rsyslog.conf');
const TERMINALS = 1_000;
const AT_ONCE = 50;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
const children: ChildProcess[] = [];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await operator?.close();
  await database?.drop();
  home?.remove();
});

async function provision(count: number): Promise<Terminal[]> {
  const terminals = Array.from({ length: count }, () => newTerminal());
  await operator.sql(
    `SELECT m2m.provision_terminal(serial, imei, imsi, uplink::bytea, downlink::bytea)
     FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[]) AS t (serial, imei, imsi, uplink, downlink)`,
    [
      terminals.map(({ serial }) => serial),
      terminals.map(({ imei }) => imei),
      terminals.map(({ imsi }) => imsi),
      terminals.map(({ uplinkPassword }) => uplinkPassword),
      terminals.map(({ downlinkPassword }) => downlinkPassword),
    ],
  );
  return terminals;
}

async function logIn(gateway: { host: string; port: number }, terminals: readonly Terminal[]): Promise<void> {
  for (let n = 0; n < terminals.length; n += AT_ONCE) {
    await Promise.all(
      terminals.slice(n, n + AT_ONCE).map(async (terminal) => {
        const socket = await RawTerminal.open(gateway);
        expect((await socket.ask(login(terminal))).result).toBe(RESULT.OK);
        socket.close();
      }),
    );
  }
}

/** The configuration of scripts/logging with this test's paths. */
function configure(folder: string): { config: string; arrived: string; notJson: string } {
  const [arrived, notJson] = [join(folder, 'arrived'), join(folder, 'not-json')];
  mkdirSync(join(folder, 'spool'));
  const text = readFileSync(SHIPPED, 'utf8')
    .replace('/var/spool/rsyslog', join(folder, 'spool'))
    .replace('/var/log/m2m/gateway.log*', join(folder, 'log', 'gateway.log*'))
    .replace('/var/log/m2m-shipped.log', arrived)
    .replace('/var/log/m2m-not-json.log', notJson);
  const config = join(folder, 'rsyslog.conf');
  writeFileSync(config, text);
  writeFileSync(arrived, '');
  return { config, arrived, notJson };
}

function ship(config: string, pidFile: string): { stop: () => Promise<void> } {
  const shipper = spawn('rsyslogd', ['-n', '-f', config, '-i', pidFile], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(shipper);
  const ended = new Promise<void>((resolve) => shipper.once('close', () => resolve()));
  return {
    stop: async () => {
      shipper.kill('SIGTERM');
      await ended;
    },
  };
}

const read = (file: string): LogLine[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine);
const loginsIn = (lines: readonly LogLine[]) =>
  lines
    .filter((line) => line['event.action'] === 'terminal-login')
    .map((line) => line['device.id'] as string);

describeWith(
  'rsyslogd',
  ['-v'],
  'rsyslog',
)('rsyslog', () => {
  test('every login arrives once, with rsyslog restarted and the file moved away in between', async () => {
    const folder = join(home.directory, 'shipping');
    mkdirSync(join(folder, 'log'), { recursive: true });
    const file = join(folder, 'log', 'gateway.log');
    const { config, arrived, notJson } = configure(folder);
    const gateway = await startGateway({
      databaseUrl: database.url,
      home,
      environment: { M2M_LOG_FILE: file },
    });
    children.push(gateway.child);
    const terminals = await provision(TERMINALS);
    const part = (n: number) => terminals.slice((n * TERMINALS) / 4, ((n + 1) * TERMINALS) / 4);

    const first = ship(config, join(folder, 'pid'));
    await logIn(gateway, part(0));
    await eventually('a login', () => loginsIn(read(arrived)).length > 0);
    await logIn(gateway, part(1));
    // Rsyslog stores how far it has read before it has passed that on, and gives the rest 1.5 s when it ends.
    await eventually('half of the logins', () => loginsIn(read(arrived)).length >= TERMINALS / 2);
    await first.stop();
    await logIn(gateway, part(2));
    renameSync(file, `${file}-20260101T000000000Z-1`);
    const second = ship(config, join(folder, 'pid'));
    await logIn(gateway, part(3));
    await eventually('all logins', () => loginsIn(read(arrived)).length >= TERMINALS);
    expect(await gateway.stop()).toBe(0);
    await eventually('the end of the gateway', () =>
      read(arrived).some((line) => line['event.action'] === 'gateway-stopped'),
    );
    await second.stop();

    expect(loginsIn(read(arrived)).sort()).toEqual(terminals.map(({ serial }) => serial).sort());
    expect(() => readFileSync(notJson)).toThrow(/ENOENT/);
  });
});
