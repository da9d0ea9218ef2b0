/** What a machine does to a process: no descriptors, nobody who takes its output, a full disk, a clock that is set. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createDatabase, type TestDatabase } from '../support/database';
import { mayMount, SmallDisk } from '../support/disk';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { heartbeat, login, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const HOUR_MS = 3_600_000;
const whereMountable = mayMount() ? test : test.skip;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
const running: GatewayProcess[] = [];
const open: RawTerminal[] = [];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
});

afterEach(async () => {
  for (const terminal of open.splice(0)) terminal.close();
  for (const gateway of running.splice(0)) expect(await gateway.stop()).toBe(0);
});

afterAll(async () => {
  await operator?.close();
  await database?.drop();
  home?.remove();
});

/** @param output a file for its standard output */
async function start(environment: Record<string, string> = {}, output?: string): Promise<GatewayProcess> {
  const gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment,
    ...(output !== undefined && { output }),
  });
  running.push(gateway);
  return gateway;
}

async function dial(gateway: GatewayProcess): Promise<RawTerminal> {
  const raw = await RawTerminal.open(gateway);
  open.push(raw);
  return raw;
}

let sequence = 0;
async function logIn(gateway: GatewayProcess, terminal: Terminal): Promise<RawTerminal> {
  const raw = await dial(gateway);
  expect((await raw.ask(login(terminal, { sequence: ++sequence }))).result).toBe(RESULT.OK);
  return raw;
}

/** Each of a terminal of its own: none may have more than 64 logins within ten minutes. */
async function anyLogin(gateway: GatewayProcess): Promise<void> {
  (await logIn(gateway, await operator.provision())).close();
}

async function beat(raw: RawTerminal, terminal: Terminal): Promise<number> {
  return (await raw.ask(heartbeat(terminal, { sequence: ++sequence }))).result;
}

async function metric(gateway: GatewayProcess, series: string): Promise<number> {
  const answer = await fetch(`${gateway.ops}/metrics`, { headers: { connection: 'close' } });
  const line = (await answer.text()).split('\n').find((text) => text.startsWith(`${series} `));
  return Number(line?.split(' ')[1]);
}

const workersOf = ({ child: { pid } }: GatewayProcess): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
/** The limit of open files that a process has now; the hard limit stays. */
function allowFiles(pid: number, count: number): void {
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${count}:`]);
}

describe('no descriptors left', () => {
  const PLENTY = 5_000;

  test('connections are turned away and told of, sessions stand, and it recovers', async () => {
    const gateway = await start();
    const terminal = await operator.provision();
    const session = await logIn(gateway, terminal);
    const pid = gateway.child.pid!;
    allowFiles(pid, openFiles(pid));
    try {
      const refused = await eventually('a connection that is turned away', async () => {
        await Promise.all(Array.from({ length: 5 }, () => dial(gateway).catch(() => undefined)));
        await new Promise((resolve) => setTimeout(resolve, 100));
        return gateway.log.find((line) => line['m2m.detail'] === 'descriptors');
      });
      expect(refused).toMatchObject({ 'event.action': 'connection-refused', 'source.ip': '127.0.0.1' });
      expect(await beat(session, terminal)).toBe(RESULT.OK);
    } finally {
      allowFiles(pid, PLENTY);
    }
    await eventually('a login', async () => {
      const raw = await dial(gateway);
      const answer = await raw.ask(login(terminal, { sequence: ++sequence })).catch(() => undefined);
      return answer?.result === RESULT.OK;
    });
    const series = 'm2m_refused_connections_total{reason="descriptors"}';
    expect(await metric(gateway, series)).toBeGreaterThan(0);
  });

  test('a worker that cannot be spawned is tried again until it can', async () => {
    const gateway = await start({ M2M_WORKERS: '2' });
    const pid = gateway.child.pid!;
    const before = workersOf(gateway);
    allowFiles(pid, openFiles(pid) - 2);
    const failed = (line: LogLine) =>
      line['event.action'] === 'worker-lost' && String(line['message']).includes('EMFILE');
    try {
      process.kill(before[0]!, 'SIGKILL');
      await gateway.logged(failed);
    } finally {
      allowFiles(pid, PLENTY);
    }
    await gateway.logged((line) => line['event.action'] === 'worker-started');
    expect(workersOf(gateway)).toHaveLength(2);
    await logIn(gateway, await operator.provision());
  });
});

test('a worker that dies while the key file is away: why none takes its place is in the log, and one does when it is back', async () => {
  const gateway = await start({ M2M_WORKERS: '2' });
  renameSync(home.keyFile, `${home.keyFile}.away`);
  try {
    process.kill(workersOf(gateway)[0]!, 'SIGKILL');
    const why = `a worker could not be replaced: M2M_KEY_FILE: key file ${home.keyFile}: ENOENT`;
    await gateway.logged((line) => String(line['message']).startsWith(why));
    await anyLogin(gateway);
  } finally {
    renameSync(`${home.keyFile}.away`, home.keyFile);
  }
  await gateway.logged((line) => line['event.action'] === 'worker-started');
});

test.each(['1', '2'])(
  'nobody takes its output any more, %s worker(s): it serves on and counts',
  async (workers) => {
    const gateway = await start({ M2M_WORKERS: workers });
    const terminal = await operator.provision();
    gateway.child.stdout!.destroy();
    gateway.child.stderr!.destroy();
    await eventually('lines that were dropped', async () => {
      await anyLogin(gateway);
      return (await metric(gateway, 'm2m_log_lines_dropped')) > 1;
    });
    expect(await beat(await logIn(gateway, terminal), terminal)).toBe(RESULT.OK);
  },
);

/** @returns when it has been refused: a log line for each address */
async function junkFrom({ host, port }: GatewayProcess, n: number): Promise<void> {
  const localAddress = `127.1.${n >> 7}.${1 + (n & 127)}`;
  const socket = connect({ host, port, localAddress }).on('error', () => undefined);
  socket.resume().end(Buffer.alloc(64, 0x7f));
  await once(socket, 'close');
}

test('somebody takes its output and stands still: SIGTERM ends it all the same', async () => {
  const gateway = await start();
  running.pop();
  gateway.child.stdout!.pause();
  // Some 600 kB of lines: more than a pipe holds.
  for (let from = 0; from < 1_500; from += 100)
    await Promise.all(Array.from({ length: 100 }, (_, i) => junkFrom(gateway, from + i)));
  const ended = once(gateway.child, 'exit');
  gateway.child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  gateway.child.stdout!.resume();
});

describe('a disk without room for the log', () => {
  const ways = {
    M2M_LOG_FILE: (file: string) => start({ M2M_LOG_FILE: file }),
    'standard output': (file: string) => start({}, file),
  };
  const all = Object.entries(ways);
  whereMountable.each(all)(
    '%s: logins go on, lines are counted, and one tells when there is room again',
    async (way, startInto) => {
      const disk = SmallDisk.mount(join(home.directory, way.replace(' ', '-')), '256k');
      try {
        const file = join(disk.place, 'gateway.log');
        const lines = () =>
          readFileSync(file, 'utf8')
            .split('\n')
            .slice(0, -1)
            .flatMap((text) => asLine(text));
        const gateway = await startInto(file);
        disk.fill();
        await eventually('lines that were dropped', async () => {
          await anyLogin(gateway);
          return (await metric(gateway, 'm2m_log_lines_dropped')) > 1;
        });
        disk.makeRoom();
        const again = await eventually('a line about room', async () => {
          await anyLogin(gateway);
          return lines().find((line) => line['event.action'] === 'log-lines-lost');
        });
        expect(again).toMatchObject({ 'm2m.detail': 'ENOSPC', 'log.level': 'warn' });
        expect(again['m2m.count']).toBe(await metric(gateway, 'm2m_log_lines_dropped'));
        expect(await running.pop()!.stop()).toBe(0);
        expect(lines().at(-1)!['event.action']).toBe('gateway-stopped');
      } finally {
        for (const gateway of running) await gateway.kill();
        disk.unmount();
      }
    },
  );
});

/** None where the disk took only the beginning of it. */
function asLine(text: string): LogLine[] {
  try {
    return [JSON.parse(text) as LogLine];
  } catch {
    return [];
  }
}

test('a clock that is set, there and back: connections stay, frames are judged as before, answers are not held up', async () => {
  const offset = join(home.directory, 'offset');
  const gateway = await start({
    NODE_OPTIONS: `--require=${join(__dirname, '../support/settableClock.js')}`,
    TEST_CLOCK_OFFSET: offset,
  });
  const [terminal, other] = [await operator.provision(), await operator.provision()];
  const session = await logIn(gateway, terminal);
  for (const [i, hours] of [1, 0, -1, 0].entries()) {
    writeFileSync(offset, String(hours * HOUR_MS));
    gateway.child.kill('SIGUSR2');
    const told = () => gateway.log.filter((line) => line['event.action'] === 'clock-off');
    await eventually('a line about the clock', () => told().length > i);
    expect(await beat(session, terminal)).toBe(RESULT.OK);
    // Longer than the gateway takes to look for connections that are overdue.
    await new Promise((resolve) => setTimeout(resolve, 600));
    const raw = await dial(gateway);
    expect((await raw.ask(login(other, { sequence: ++sequence }))).result).toBe(RESULT.OK);
    const guess = login(other, { sequence: ++sequence, password: Buffer.from('guess') });
    expect((await raw.ask(guess)).result).toBe(RESULT.AUTH_FAILED);
    expect([session.closed, raw.closed]).toEqual([false, false]);
  }
  expect(gateway.log.filter((line) => line['event.action'] === 'connection-refused')).toEqual([]);
});
