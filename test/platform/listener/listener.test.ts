/** Who may stand at the door, and for how long: the listener on real sockets, with a clock that the test moves. */
import { connect, type Socket } from 'node:net';
import type { Connection } from '../../../src/platform/listener/connection';
import { Listener } from '../../../src/platform/listener/listener';
import { Newcomers } from '../../../src/platform/listener/newcomers';
import type { Session } from '../../../src/platform/model';
import { headerJudge } from '../../../src/protocol/judge';
import { eventually } from '../../support/eventually';

const DEADLINE = 10_000;
const IDLE = 50_000;

let listener: Listener;
let newcomers: Newcomers;
let port: number;
let time: number;
let refused: string[];
const sockets: Socket[] = [];

beforeEach(async () => {
  time = 1_800_000_000_000;
  refused = [];
  newcomers = new Newcomers(2);
  listener = new Listener({
    judge: headerJudge(4096),
    handler: { handle: () => ({}), failed: () => undefined, closed: () => undefined },
    now: () => time,
    loginDeadline: DEADLINE,
    idleLimit: IDLE,
    newcomers,
    hasRoom: () => true,
    proxies: undefined,
    onRefused: (reason, address) => refused.push(`${reason} ${address}`),
  });
  port = Number((await listener.listen({ host: '127.0.0.1', port: 0 })).split(':')[1]);
});

afterEach(() => {
  listener.stopAccepting();
  listener.destroyAll();
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** A peer that does not close when it is told to. */
function dial(): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => undefined).resume();
  return socket;
}

/** @returns the connection that comes of it */
async function accepted(socket = dial()): Promise<readonly [Socket, Connection]> {
  const before = new Set(listener.connections);
  const found = () => [...listener.connections].find((connection) => !before.has(connection));
  await eventually('a connection', () => found() !== undefined);
  return [socket, found()!];
}

const refusals = (count: number) => eventually(`${count} refusals`, () => refused.length === count);

test('newcomers of one address: whoever goes makes room, and whoever logs in', async () => {
  const [[first], [, second]] = [await accepted(), await accepted()];
  dial();
  await refusals(1);
  expect(refused).toEqual(['newcomers 127.0.0.1']);

  first.destroy();
  await eventually('one left', () => listener.connections.size === 1);
  await accepted();
  dial();
  await refusals(2);

  second.begin({ terminal: { serial: 'T1' } } as Session);
  const [, third] = await accepted();
  dial();
  await refusals(3);

  // It has left the newcomers already.
  second.destroy();
  await eventually('its end', () => !listener.connections.has(second));
  dial();
  await refusals(4);
  for (const connection of listener.connections) connection.destroy();
  await eventually('all gone', () => listener.connections.size === 0);
  expect([newcomers.size, third.isOpen]).toEqual([0, false]);
});

test('who does not log in is sent away, and is counted once, also where he does not go', async () => {
  const [socket, connection] = await accepted();
  const told = new Promise((resolve) => socket.once('end', resolve));
  time += DEADLINE - 1;
  expect(connection.overdue(time)).toBeUndefined();
  time += 1;
  await told;
  expect([connection.isOpen, listener.connections.size]).toEqual([false, 1]);
  time += 1_000;
  await eventually('its end', () => listener.connections.size === 0);
  expect(refused).toEqual(['login-deadline 127.0.0.1']);
});

test('who is silent within a session is sent away as idle', async () => {
  const [socket, connection] = await accepted();
  const told = new Promise((resolve) => socket.once('end', resolve));
  connection.begin({ terminal: { serial: 'T1' } } as Session);
  time += DEADLINE;
  await told;
  expect(refused).toEqual(['idle 127.0.0.1']);
});
