/** The connection on real sockets, with time and answers as the test wants them. */
import { Duplex } from 'node:stream';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import {
  Connection,
  type ConnectionHandler,
  type ConnectionOptions,
  type Outcome,
} from '../../../src/platform/listener/connection';
import type { Session } from '../../../src/platform/model';
import { originOf } from '../../../src/platform/listener/origin';
import { headerJudge } from '../../../src/protocol/judge';
import { eventually } from '../../support/eventually';
import { heartbeat } from '../../support/oracle';
import { newTerminal } from '../../support/operator';

let server: Server;
let client: Socket;
let connection: Connection;
let time: number;
let handle: (n: number) => Outcome | Promise<Outcome>;
let judge: ConnectionOptions['judge'];
let frame: Buffer;
let handled: number;
let closed: number;
let failures: unknown[];
let options: ConnectionOptions;

beforeEach(async () => {
  frame = heartbeat(newTerminal());
  time = 1_800_000_000_000;
  handled = 0;
  closed = 0;
  failures = [];
  judge = headerJudge(4096);
  const handler: ConnectionHandler = {
    handle: () => handle(++handled),
    failed: (error) => void failures.push(error),
    closed: () => void closed++,
  };
  options = {
    judge: (header) => judge(header),
    handler,
    now: () => time,
    loginDeadline: 10_000,
    idleLimit: 1000,
  };
  server = createServer({ allowHalfOpen: true });
  const accepted = new Promise<void>((resolve) => {
    server.once('connection', (socket) => {
      connection = new Connection(socket, options, originOf(socket, time));
      resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  // Half-open: a peer that does not close when it is told to.
  client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => undefined);
  await accepted;
});

afterEach(async () => {
  client.destroy();
  connection.destroy();
  await new Promise((resolve) => server.close(resolve));
  // What waits for its turn still has it before the next test counts.
  await new Promise((resolve) => setImmediate(resolve));
});

const anywhere = { remoteAddress: '10.0.0.1', remotePort: 4000 } as Socket;

// Whether they are authentic is not the connection's business: one will do for all.
const frames = (count: number) => Buffer.concat(Array.from({ length: count }, () => frame));

test('a peer that does not read: nothing more is handled for it, and in the end it is cut off', async () => {
  handle = () => ({ bytes: Buffer.alloc(256 * 1024) });
  client.pause();
  client.write(frames(5000));
  // What the kernel takes is handled; then it stands still.
  await eventually(
    'a connection that stands still',
    () => handled > 0 && connection.overdue(time + 9_999) === undefined,
  );
  let before = -1;
  while (before !== handled) {
    before = handled;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  expect(handled).toBeLessThan(200);
  expect(connection.overdue(time + 10_001)).toBe('stalled');
});

test('a peer that reads again after a while is served on', async () => {
  handle = () => ({ bytes: Buffer.alloc(256 * 1024) });
  client.pause();
  client.write(frames(60));
  await eventually('a stalled one', () => connection.overdue(time + 10_001) === 'stalled');
  client.resume();
  await eventually('all frames', () => handled === 60);
});

test('likewise one that has nothing more to say: FIN comes behind its last answer', async () => {
  handle = () => ({ bytes: Buffer.alloc(256 * 1024) });
  client.pause();
  client.end(frames(60));
  await eventually('a stalled one', () => connection.overdue(time + 10_001) === 'stalled');
  client.resume();
  await eventually('all frames', () => handled === 60);
});

test('a peer that does not read is told nothing, and so counted once: when it is given up', async () => {
  handle = () => ({ bytes: Buffer.alloc(256 * 1024) });
  client.pause();
  client.write(frames(60));
  await eventually('a stalled one', () => connection.overdue(time + 10_001) === 'stalled');
  expect(connection.overdue(time + 10_000)).toBeUndefined();
});

test('a peer that did not read what it was told unasked is heard when it has', async () => {
  handle = () => ({});
  client.pause();
  await eventually('a stalled one', () => {
    connection.send(Buffer.alloc(256 * 1024));
    return connection.overdue(time + 10_001) === 'stalled';
  });
  client.resume();
  client.write(frames(1));
  await eventually('its frame', () => handled === 1);
});

test('frames behind one that waits are held within bounds: reading pauses', async () => {
  let release = () => {};
  handle = (n) => (n === 1 ? new Promise((resolve) => (release = () => resolve({}))) : {});
  const flood = frames(200_000);
  client.write(flood);
  await eventually('a frame', () => handled === 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  // Most of the flood is still on the sender's side.
  expect(client.writableLength).toBeGreaterThan(flood.length / 4);
  expect(handled).toBe(1);
  release();
  await eventually('more frames', () => handled > 1000);
});

test('likewise where each comes by itself: no more than 64 wait', () => {
  handle = () => new Promise(() => undefined);
  const socket = new Duplex({ read: () => undefined }) as Socket;
  const alone = new Connection(socket, options, originOf(anywhere, time));
  alone.begin({ terminal: { serial: 'T1' } } as Session);
  const paused = Array.from({ length: 65 }, () => {
    socket.emit('data', frame);
    return socket.isPaused();
  });
  // One is being handled.
  expect([paused.indexOf(true), handled]).toEqual([64, 1]);
});

test('turns are taken in order, and one that is not due yet holds up those behind it', async () => {
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  handle = async (n) => {
    if (n === 1) await new Promise((resolve) => setTimeout(resolve, 30));
    return { bytes: Buffer.of(n) };
  };
  client.write(frames(5));
  await eventually('five answers', () => Buffer.concat(received).length === 5);
  expect([...Buffer.concat(received)]).toEqual([1, 2, 3, 4, 5]);
});

test('FIN comes behind the last answer, input is drained, and who does not close is cut off after a second', async () => {
  const ended = new Promise((resolve) => client.once('end', resolve));
  client.resume();
  handle = () => ({ bytes: Buffer.from('bye'), close: true });
  client.write(frames(3));
  await eventually('FIN', () => !connection.isOpen);
  expect(handled).toBe(1);
  expect(connection.overdue(time + 999)).toBeUndefined();
  expect(connection.overdue(time + 1000)).toBe('lingering');
  await ended;
  client.destroy();
  await eventually('the end', () => closed === 1);
});

test('the login deadline does not hit who waits for an answer', async () => {
  let release = () => {};
  handle = () => new Promise((resolve) => (release = () => resolve({})));
  expect(connection.overdue(time + 10_000)).toBe('login-deadline');
  client.write(frames(1));
  await eventually('a frame', () => handled === 1);
  expect(connection.overdue(time + 10_000)).toBeUndefined();
  release();
  await eventually('the deadline', () => connection.overdue(time + 10_000) === 'login-deadline');
});

test('silence within a session counts from the latest frame, however long its answer took', async () => {
  connection.begin({ terminal: { serial: 'T1' } } as Session);
  const arrived = time;
  handle = async () => {
    await Promise.resolve();
    time += 700;
    return { bytes: Buffer.of(1) };
  };
  const answered = new Promise((resolve) => client.once('data', resolve));
  client.write(frames(1));
  await answered;
  expect(connection.overdue(arrived + 999)).toBeUndefined();
  expect(connection.overdue(arrived + 1000)).toBe('idle');
});

test('sent away: behind the frame that is handled; unless that is a reason to stay, and then nothing is lost', async () => {
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  const releases: (() => void)[] = [];
  handle = (n) =>
    n % 2 === 0 ? { bytes: Buffer.of(n) } : new Promise((resolve) => releases.push(() => resolve({})));
  client.write(frames(4));
  await eventually('the first to wait', () => releases.length === 1);
  let stays = true;
  const leave = () =>
    connection.sendAway(
      () => Buffer.from('bye'),
      () => stays,
    );
  leave();
  releases[0]!();
  await eventually('the second to wait', () => releases.length === 2);
  expect(connection.isOpen).toBe(true);
  stays = false;
  leave();
  releases[1]!();
  await eventually('the end', () => !connection.isOpen);
  await eventually('the answers', () => Buffer.concat(received).length >= 4);
  expect(Buffer.concat(received)).toEqual(Buffer.concat([Buffer.of(2), Buffer.from('bye')]));
  expect(handled).toBe(3);
});

test('who only keeps asking is not waited for beyond the login deadline', async () => {
  handle = () => new Promise((resolve) => setTimeout(() => resolve({ bytes: Buffer.of(1) }), 5));
  client.resume();
  client.write(frames(3));
  await eventually('the first frame', () => handled >= 1);
  time += 10_000;
  client.write(frames(3));
  // What came in time is answered; of the rest nothing is looked at, so that it waits for nothing.
  await eventually('the deadline', () => connection.overdue(time) === 'login-deadline');
  client.write(frames(3));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(connection.overdue(time)).toBe('login-deadline');
  expect(handled).toBe(3);
});

test('who is told to come back may take his time, but not for ever', async () => {
  handle = () => ({ bytes: Buffer.of(1), patience: time + 3_600_000 });
  const answered = new Promise((resolve) => client.once('data', resolve));
  client.write(frames(1));
  await answered;
  expect(connection.overdue(time + 69_999)).toBeUndefined();
  expect(connection.overdue(time + 70_000)).toBe('login-deadline');
});

test('an answer that was long in the making leaves at the next whole multiple, by the listener’s clock', async () => {
  const setTimeoutSpy = jest.spyOn(global, 'setTimeout');
  try {
    handle = async () => {
      await Promise.resolve();
      // A lookup that took longer than the delay.
      time += 130;
      return { bytes: Buffer.of(1), every: 50 };
    };
    const answered = new Promise((resolve) => client.once('data', resolve));
    client.write(frames(1));
    await answered;
    expect(setTimeoutSpy.mock.calls.map(([, wait]) => wait)).toContain(20);
  } finally {
    setTimeoutSpy.mockRestore();
  }
});

describe('a fault of ours', () => {
  const fault = new Error('a fault');
  const fail = (): never => {
    throw fault;
  };

  test.each<[string, () => void]>([
    ['a frame that is handled', () => (handle = (n) => (n === 2 ? fail() : { bytes: Buffer.of(n) }))],
    [
      'a frame whose answer is waited for',
      () => (handle = (n) => (n === 2 ? Promise.reject(fault) : { bytes: Buffer.of(n) })),
    ],
    ['a header that is judged', () => (judge = fail)],
    ['a last word', () => connection.sendAway(fail)],
    ['a reason to stay', () => connection.sendAway(() => undefined, fail)],
    ['a task', () => connection.later(() => Promise.reject(fault))],
  ])(
    '%s: told once, that connection is closed behind what it was told, nothing more is handled',
    async (what, arrange) => {
      const received: Buffer[] = [];
      client.on('data', (chunk: Buffer) => received.push(chunk));
      const ended = new Promise((resolve) => client.once('end', resolve));
      handle = () => ({});
      arrange();
      client.write(frames(3));
      await ended;
      expect([failures, connection.isOpen]).toEqual([[fault], false]);
      if (what.startsWith('a frame')) expect([Buffer.concat(received), handled]).toEqual([Buffer.of(1), 2]);
      client.end();
      await eventually('its end', () => closed === 1);
    },
  );
});
