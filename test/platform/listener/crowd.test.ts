/** Hundreds of connections that want something in the same turn of the event loop, on streams that are no sockets. */
import fc from 'fast-check';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { Connection, untilMultiple, type Outcome } from '../../../src/platform/listener/connection';
import { originOf } from '../../../src/platform/listener/origin';
import type { Session } from '../../../src/platform/model';
import { headerJudge } from '../../../src/protocol/judge';
import { eventually } from '../../support/eventually';
import { heartbeat } from '../../support/oracle';
import { newTerminal } from '../../support/operator';

const TIME = 1_800_000_000_000;
const anywhere = { remoteAddress: '10.0.0.1', remotePort: 4000 } as Socket;
const frame = heartbeat(newTerminal());
let handle: (n: number) => Outcome | Promise<Outcome>;
let handled: number;
let sockets: Socket[];
let all: Connection[];
const turn = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(async () => {
  sockets = Array.from({ length: 300 }, () => new Duplex({ read: () => undefined }) as Socket);
  handled = 0;
  handle = () => ({});
  const handler = { handle: () => handle(++handled), failed: () => undefined, closed: () => undefined };
  const options = {
    judge: headerJudge(4096),
    handler,
    now: () => TIME,
    loginDeadline: 10_000,
    idleLimit: 1000,
  };
  all = sockets.map((socket) => new Connection(socket, options, originOf(anywhere, TIME)));
  // Nothing of earlier tests counts in this turn.
  await turn();
});

/** @returns what `count` says in each turn of the event loop, until it says 300 */
async function inTurns(count: () => number): Promise<number[]> {
  const counts = [count()];
  while (counts.at(-1) !== 300) {
    await turn();
    counts.push(count());
  }
  return counts;
}

test('hang up: some are let go in each turn of the event loop', async () => {
  for (const socket of sockets) socket.emit('end');
  expect(await inTurns(() => sockets.filter(({ destroyed }) => destroyed).length)).toEqual([128, 256, 300]);
});

test('send their first frame: some are handled in each turn', async () => {
  for (const socket of sockets) socket.emit('data', frame);
  expect(await inTurns(() => handled)).toEqual([128, 256, 300]);
});

test('send it with FIN behind it: all are handled before they are let go', async () => {
  for (const socket of sockets) {
    socket.emit('data', frame);
    socket.emit('end');
  }
  expect(await inTurns(() => handled)).toEqual([128, 256, 300]);
  await eventually('the last ones', () => sockets.every(({ destroyed }) => destroyed));
});

test('nobody is late whose frame waits for its turn, and nobody takes two turns', async () => {
  for (const socket of [...sockets, ...sockets]) socket.emit('data', frame);
  const late = () => all.filter((connection) => connection.overdue(TIME + 10_000) !== undefined).length;
  expect(await inTurns(late)).toEqual([0, 128, 256, 300]);
  expect(handled).toBe(600);
});

test.each(['without', 'with'])('a read brings 40 frames, %s a session: four in each turn', async (which) => {
  const [connection, socket] = [all[0]!, sockets[0]!];
  if (which === 'with') connection.begin({ terminal: { serial: 'T1' } } as Session);
  handle = (n) => (n % 2 === 0 ? Promise.resolve({}) : {});
  socket.push(Buffer.concat(Array.from({ length: 40 }, () => frame)));
  socket.push(null);
  const counts = [handled];
  while (!socket.destroyed) {
    await turn();
    counts.push(handled);
  }
  const steps = counts.map((count, i) => count - (counts[i - 1] ?? 0));
  // Ours and theirs are not the same turns: a look may fall between.
  expect(Math.max(...steps)).toBeLessThanOrEqual(8);
  expect(handled).toBe(40);
});

test('who was let go and has work again keeps his connection until it is done', async () => {
  for (const socket of sockets) socket.emit('end');
  const [connection, socket] = [all[299]!, sockets[299]!];
  const written: Buffer[] = [];
  socket._write = (chunk: Buffer, _encoding, done) => {
    written.push(chunk);
    done();
  };
  connection.later(async () => {
    for (let n = 0; n < 5; n++) await turn();
    return frame;
  });
  await eventually('the last one', () => socket.destroyed);
  expect(written).toEqual([frame]);
});

test('who has a session is served at once', () => {
  for (const connection of all) connection.begin({ terminal: { serial: 'T1' } } as Session);
  for (const socket of sockets) socket.emit('data', frame);
  expect(handled).toBe(300);
});

test('whole multiples, at least one of them', () => {
  expect([0, 1, 49, 50, 51, 100].map((elapsed) => elapsed + untilMultiple(elapsed, 50))).toEqual([
    50, 50, 50, 50, 100, 100,
  ]);
  expect(untilMultiple(7, 0)).toBe(0);
  fc.assert(
    fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 10_000 }), (elapsed, every) => {
      const wait = untilMultiple(elapsed, every);
      expect((elapsed + wait) % every).toBe(0);
      expect(wait).toBeGreaterThanOrEqual(0);
      expect(wait).toBeLessThanOrEqual(every);
    }),
  );
});
