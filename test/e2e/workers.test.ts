/** Several processes behind one port: what holds across them, and what becomes of one that dies. */
import { readdirSync, readFileSync } from 'node:fs';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import {
  COMMAND,
  downlinkFlaw,
  heartbeat,
  login,
  RESULT,
  SUITE,
  TAG,
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { askByText, provisionSealedPhone } from '../support/texts';
import { WebhookServer } from '../support/webhook';

const WORKERS = 3;
const SUPERSEDED = 1;
const SUSPENDED = 2;
const SHUTTING_DOWN = 4;
const UPLINK = 1;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let webhook: WebhookServer;
let gateway: GatewayProcess;

const start = (environment: Record<string, string> = {}) =>
  startGateway({
    databaseUrl: database.url,
    home,
    environment: {
      M2M_WORKERS: String(WORKERS),
      M2M_SMS: `http://127.0.0.1:${webhook.port}/texts`,
      ...environment,
    },
  });

beforeAll(async () => {
  [database, webhook] = await Promise.all([createDatabase(), WebhookServer.start()]);
  home = testHome();
  gateway = await start();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await webhook?.stop();
  await database?.drop();
  home?.remove();
});

/** Process ids of a gateway's workers. */
function workersOf({ child }: GatewayProcess): number[] {
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

/** Has one worker accept all connections that are made meanwhile: the others are stopped. */
async function only<T>(pid: number, act: () => Promise<T>, of = gateway): Promise<T> {
  const others = workersOf(of).filter((other) => other !== pid);
  for (const other of others) process.kill(other, 'SIGSTOP');
  try {
    return await act();
  } finally {
    for (const other of others) process.kill(other, 'SIGCONT');
  }
}

let sequence = 0;
/** Logins on the gateway that all tests share. */
let granted = 0;
async function loggedIn(worker: number, terminal: Terminal, of = gateway) {
  const asked = login(terminal, { sequence: ++sequence, suite: SUITE.MD5 });
  const socket = await only(
    worker,
    async () => {
      const opened = await RawTerminal.open(of);
      expect((await opened.ask(asked)).result).toBe(RESULT.OK);
      if (of === gateway) granted++;
      return opened;
    },
    of,
  );
  const line = await of.logged(
    (line) => line['device.id'] === terminal.serial && line['m2m.sequence'] === sequence,
  );
  expect(line['process.pid']).toBe(worker);
  return { socket, asked };
}

function expectDisconnect(frame: Parsed, terminal: Terminal, reason: number): void {
  expect(frame.command).toBe(COMMAND.DISCONNECT);
  expect(frame.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(reason);
  expect(downlinkFlaw(frame, terminal)).toBeUndefined();
}

async function series(name: string, of = gateway): Promise<Map<string, number>> {
  const text = await (await fetch(`${of.ops}/metrics`, { headers: { connection: 'close' } })).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

/** Until all of them are counted: a worker that stands still does not answer the primary in time. */
const counted = () =>
  eventually(`${granted} logins`, async () => {
    const name = 'm2m_logins_total{result="ok",version="4.0"}';
    return (await series('m2m_logins_total')).get(name) === granted;
  });

test('as many processes as asked for, announced once, with one row of its own each', () => {
  expect(workersOf(gateway)).toHaveLength(WORKERS);
  const announced = gateway.log.filter((line) => line['event.action'] === 'gateway-started');
  expect(announced).toHaveLength(1);
  expect(announced[0]!['message']).toContain(`${WORKERS} workers`);
  expect(gateway.stderr()).not.toContain('not a setting');
});

test('a newer login on another worker ends the older session, and a replay is one everywhere', async () => {
  const [one, two, three] = workersOf(gateway) as [number, number, number];
  const terminal = await operator.provision();
  const older = await loggedIn(one, terminal);
  // The older worker stood still meanwhile, and who has not been seen for long is not told.
  await operator.sql('UPDATE m2m.instance SET seen_at = now()');
  const newer = await loggedIn(two, terminal);
  expectDisconnect(await older.socket.next(), terminal, SUPERSEDED);
  await older.socket.end();
  const replayed = await only(three, async () => (await RawTerminal.open(gateway)).ask(newer.asked));
  expect(replayed.result).toBe(RESULT.REPLAY);
  expect((await newer.socket.ask(heartbeat(terminal, { sequence: 900, suite: SUITE.MD5 }))).result).toBe(
    RESULT.OK,
  );
  newer.socket.close();
});

test('changes in SQL reach every worker, and are told in the log once', async () => {
  const terminals = await Promise.all(workersOf(gateway).map(() => operator.provision()));
  const sockets: RawTerminal[] = [];
  for (const [i, worker] of workersOf(gateway).entries()) {
    sockets.push((await loggedIn(worker, terminals[i]!)).socket);
  }
  await operator.sql(`SELECT m2m.suspend_terminal(s, 'unpaid') FROM unnest($1::text[]) AS s`, [
    terminals.map(({ serial }) => serial),
  ]);
  for (const [i, socket] of sockets.entries()) {
    expectDisconnect(await socket.next(), terminals[i]!, SUSPENDED);
    await socket.end();
  }
  const told = (line: LogLine) =>
    line['event.action'] === 'terminal-changed' && line['device.id'] === terminals[0]!.serial;
  await gateway.logged(told);
  expect(gateway.log.filter(told)).toHaveLength(1);
});

test('a text that a worker commits leaves once', async () => {
  const { terminal, phone } = await provisionSealedPhone(operator);
  const { socket } = await loggedIn(workersOf(gateway)[1]!, terminal);
  await askByText(socket, terminal, { targets: UPLINK, sequence: ++sequence, suite: SUITE.MD5 });
  await webhook.got(phone);
  const [row] = await operator.sql('SELECT attempts FROM m2m.sms_outbox_status WHERE serial = $1', [
    terminal.serial,
  ]);
  expect(webhook.to(phone).length).toBeLessThanOrEqual(row!['attempts'] as number);
  socket.close();
});

test('a worker that is killed takes its own terminals with it, is replaced, and what it counted stays', async () => {
  const before = workersOf(gateway);
  const [victim, other] = before as [number, number];
  const [lost, kept] = await Promise.all([operator.provision(), operator.provision()]);
  const { socket: gone } = await loggedIn(victim, lost);
  const { socket: stays } = await loggedIn(other, kept);
  await counted();
  process.kill(victim, 'SIGKILL');
  await gone.end();
  const line = await gateway.logged((line) => line['event.action'] === 'worker-lost');
  expect(line).toMatchObject({ 'log.level': 'error', 'm2m.detail': 'SIGKILL' });
  expect((await stays.ask(heartbeat(kept, { sequence: 901, suite: SUITE.MD5 }))).result).toBe(RESULT.OK);
  await eventually('a session that is not connected', async () => {
    const [row] = await operator.sql('SELECT connected FROM m2m.live_session WHERE serial = $1', [
      lost.serial,
    ]);
    return row?.['connected'] === false;
  });
  await gateway.logged((line) => line['event.action'] === 'worker-started');
  await counted();
  const workers = workersOf(gateway);
  expect(workers).toHaveLength(WORKERS);
  expect(workers).not.toContain(victim);
  const replacement = workers.find((pid) => !before.includes(pid))!;
  (await loggedIn(replacement, lost)).socket.close();
  await counted();
  expect((await series('m2m_workers')).get('m2m_workers')).toBe(WORKERS);
  expect((await series('m2m_workers_lost_total')).get('m2m_workers_lost_total')).toBe(1);
  stays.close();
});

test('all workers killed at once: others take their places, on the same port', async () => {
  const terminal = await operator.provision();
  const before = workersOf(gateway);
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await eventually('as many new workers', async () => {
    const others = workersOf(gateway).filter((pid) => !before.includes(pid));
    if (others.length < WORKERS) return undefined;
    return (await series('m2m_workers')).get('m2m_workers') === WORKERS;
  });
  for (const worker of workersOf(gateway)) (await loggedIn(worker, terminal)).socket.close();
});

test.each([
  ['connections', 'M2M_MAX_CONNECTIONS', 'limit'],
  ['newcomers', 'M2M_MAX_NEWCOMERS', 'newcomers'],
])('a limit of %s is one for all workers', async (_, setting, reason) => {
  const small = await start({ [setting]: '2' });
  const [one, two] = workersOf(small) as [number, number];
  const dial = (worker: number) => only(worker, () => RawTerminal.open(small), small);
  const sockets = [await dial(one), await dial(two)];
  await eventually(
    'two connections',
    async () => (await series('m2m_connections', small)).get('m2m_connections') === 2,
  );
  // How many the others have is heard of within a quarter of a second.
  await eventually('a refusal', async () => {
    const third = await dial(one);
    await Promise.race([third.end(), new Promise((resolve) => setTimeout(resolve, 200))]);
    const { closed } = third;
    third.close();
    return closed;
  });
  await small.logged((line) => line['m2m.detail'] === reason);
  for (const socket of sockets) socket.close();
  expect(await small.stop()).toBe(0);
});

test('SIGTERM to all of them, twice: every terminal is sent away, and the exit code is 0', async () => {
  const ending = await start({ M2M_DRAIN: '2' });
  const workers = workersOf(ending);
  const terminals = await Promise.all(workers.map(() => operator.provision()));
  const sockets: RawTerminal[] = [];
  for (const [i, worker] of workers.entries())
    sockets.push((await loggedIn(worker, terminals[i]!, ending)).socket);
  const exit = ending.stop();
  for (const pid of workers) process.kill(pid, 'SIGTERM');
  ending.child.kill('SIGTERM');
  for (const [i, socket] of sockets.entries()) {
    expectDisconnect(await socket.next(), terminals[i]!, SHUTTING_DOWN);
    await socket.end();
  }
  expect(await exit).toBe(0);
  expect(ending.log.some((line) => line['event.action'] === 'worker-lost')).toBe(false);
  expect(ending.log.at(-1)!['event.action']).toBe('gateway-stopped');
  expect(workers.filter(isAlive)).toEqual([]);
});

test('workers do not outlive a primary that is killed', async () => {
  const doomed = await start();
  const workers = workersOf(doomed);
  await doomed.kill();
  await eventually('the end of all workers', () => !workers.some(isAlive));
});

function isAlive(pid: number): boolean {
  return readdirSync('/proc').includes(String(pid));
}
