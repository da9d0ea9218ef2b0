/** The listener behind a load balancer, on real sockets, with a clock that the test moves. */
import { spawnSync } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { parseNetworks } from '../../../src/platform/config/networks';
import type { Connection } from '../../../src/platform/listener/connection';
import { Newcomers } from '../../../src/platform/listener/newcomers';
import { Listener } from '../../../src/platform/listener/listener';
import type { Origin } from '../../../src/platform/listener/origin';
import { ProxyDoor } from '../../../src/platform/listener/proxyDoor';
import { headerJudge } from '../../../src/protocol/judge';
import { eventually } from '../../support/eventually';
import { heartbeat } from '../../support/oracle';
import { newTerminal } from '../../support/operator';
import { local, proxied } from '../../support/proxy';

const LIMIT = 3;
const DEADLINE = 10_000;
const header = proxied('198.51.100.9', 4711);

let listener: Listener;
let port: number;
let time: number;
let refused: string[];
let frames: [Connection, Buffer][];
const sockets: Socket[] = [];

beforeEach(async () => {
  time = 1_800_000_000_000;
  refused = [];
  frames = [];
  listener = new Listener({
    judge: headerJudge(4096),
    handler: {
      handle: (event, connection) => {
        if (event.kind === 'frame') frames.push([connection, event.bytes]);
        return {};
      },
      failed: () => undefined,
      closed: () => undefined,
    },
    now: () => time,
    loginDeadline: DEADLINE,
    idleLimit: DEADLINE,
    newcomers: new Newcomers(1_000),
    hasRoom: (own) => own < LIMIT,
    proxies: parseNetworks('127.0.0.1,127.0.0.8/30'),
    onRefused: (reason, address, from) => refused.push(`${reason} ${address} ${from}`),
  });
  port = Number((await listener.listen({ host: '127.0.0.1', port: 0 })).split(':')[1]);
});

afterEach(() => {
  listener.stopAccepting();
  listener.destroyAll();
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** A peer; `from` is its port, also when it is gone. */
async function dial(localAddress = '127.0.0.1'): Promise<Socket & { gone: boolean; from: number }> {
  const socket = Object.assign(connect({ host: '127.0.0.1', port, localAddress }), { gone: false, from: 0 });
  sockets.push(socket);
  socket.setNoDelay(true).resume();
  socket.on('error', () => undefined);
  socket.on('close', () => (socket.gone = true));
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.from = socket.localPort!;
  return socket;
}

const refusals = (count: number) => eventually(`${count} refusals`, () => refused.length === count);
const connections = (count: number) => eventually('connections', () => listener.connections.size === count);
const only = () => [...listener.connections][0]!;

test('who is not trusted is closed at once, header or not, and takes no room', async () => {
  for (let i = 0; i <= LIMIT; i++) {
    const socket = await dial('127.0.0.7');
    socket.write(header);
    await eventually('it is closed', () => socket.gone);
  }
  expect(refused).toHaveLength(LIMIT + 1);
  expect(refused[0]).toMatch(/^proxy-untrusted 127\.0\.0\.7 \d+$/);
  expect(listener.connections.size).toBe(0);
  (await dial('127.0.0.11')).write(header);
  await connections(1);
});

test('the header tells address and port; what is glued to it, and what comes later, is the terminal’s', async () => {
  const [one, two] = [heartbeat(newTerminal()), heartbeat(newTerminal())];
  const socket = await dial();
  socket.write(Buffer.concat([header, one, two.subarray(0, 9)]));
  await eventually('a frame', () => frames.length === 1);
  socket.write(two.subarray(9));
  await eventually('both frames', () => frames.length === 2);
  expect(frames.map(([, bytes]) => bytes)).toEqual([one, two]);
  expect(frames[0]![0]).toMatchObject({ address: '198.51.100.9', port: 4711 });
});

test('byte by byte', async () => {
  const frame = heartbeat(newTerminal());
  const socket = await dial();
  for (const byte of Buffer.concat([header, frame])) {
    await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
  }
  await eventually('the frame', () => frames.length === 1);
  expect(frames[0]![1]).toEqual(frame);
  expect(only()).toMatchObject({ address: '198.51.100.9', port: 4711 });
});

test('a malformed header closes the connection at its first wrong byte', async () => {
  const socket = await dial();
  socket.write(header.subarray(0, 12));
  socket.write(Buffer.of(0x22));
  await refusals(1);
  expect(refused[0]).toBe(`proxy-malformed 127.0.0.1 ${socket.from}`);
  await eventually('it is closed', () => socket.gone);
  expect(listener.connections.size).toBe(0);
});

test('one that ends within its header is malformed, one that sends nothing is no failure', async () => {
  const [half, quiet] = [await dial(), await dial()];
  half.end(header.subarray(0, 20));
  quiet.end();
  await eventually('both are closed', () => half.gone && quiet.gone);
  expect(refused).toEqual([`proxy-malformed 127.0.0.1 ${half.from}`]);
});

test('who has gone before he is accepted is no failure', async () => {
  const reset = `const s = require('net').connect(${port}, '127.0.0.1', () => s.resetAndDestroy())`;
  // While this waits the listener accepts nobody.
  expect(spawnSync(process.execPath, ['-e', reset]).status).toBe(0);
  (await dial()).write(header);
  await connections(1);
  expect(refused).toEqual([]);
});

test('LOCAL: the connection’s own address; it may go without a word', async () => {
  const socket = await dial();
  socket.write(local());
  await connections(1);
  expect(only()).toMatchObject({ address: '127.0.0.1', port: socket.from });
  socket.end();
  await connections(0);
  expect(refused).toEqual([]);
});

test('a header that does not come in time: the deadline counts from the connection’s acceptance', async () => {
  const [silent, slow] = [await dial(), await dial()];
  slow.write(header.subarray(0, 27));
  // Whoever is refused for want of room shows that the others are accepted.
  await dial();
  const fourth = await dial();
  await refusals(1);
  expect(refused[0]).toBe(`limit 127.0.0.1 ${fourth.from}`);
  time += DEADLINE;
  await refusals(4);
  expect(refused.slice(1).every((line) => line.startsWith('proxy-missing 127.0.0.1 '))).toBe(true);
  await eventually('they are closed', () => silent.gone && slow.gone);
});

test('a header just in time leaves no more time to log in', async () => {
  const socket = await dial();
  socket.write(header.subarray(0, 27));
  await dial();
  await dial();
  await dial();
  await refusals(1);
  time += DEADLINE - 1;
  socket.write(header.subarray(27));
  await connections(1);
  expect(only().overdue(time)).toBeUndefined();
  expect(only().overdue(time + 1)).toBe('login-deadline');
});

test('those who wait for their header take room, until they have gone', async () => {
  const waiting = [await dial(), await dial(), await dial()];
  await dial();
  await refusals(1);
  expect(refused[0]).toMatch(/^limit /);
  waiting[0]!.end();
  await eventually('it is closed', () => waiting[0]!.gone);
  (await dial()).write(header);
  await connections(1);
  expect(refused).toHaveLength(1);
});

test('the end of accepting is the end of those who wait, which is no failure of theirs', async () => {
  const [one, two] = [await dial(), await dial()];
  one.write(header.subarray(0, 5));
  await dial();
  await dial();
  await refusals(1);
  listener.stopAccepting();
  await eventually('they are closed', () => one.gone && two.gone);
  expect(refused).toHaveLength(1);
});

test('a balancer’s own check is handed on as one, a terminal’s connection is not', () => {
  const door = new ProxyDoor({ trusted: [], headerLimit: DEADLINE, onRefused: () => undefined });
  const origin: Origin = { address: '127.0.0.1', port: 1, acceptedAt: time, local: false };
  const handedOn: Origin[] = [];
  for (const bytes of [local(), header]) {
    const socket = new PassThrough() as unknown as Socket;
    door.take(socket, origin, (_socket, told) => handedOn.push(told));
    socket.emit('data', bytes);
  }
  expect(handedOn).toEqual([
    { ...origin, local: true },
    { ...origin, address: '198.51.100.9', port: 4711 },
  ]);
});
