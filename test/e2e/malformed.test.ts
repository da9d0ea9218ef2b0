/** Every bad request of the vectors on the real port: whole, byte by byte, and glued to its neighbours. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { COMMAND, downlinkFlaw, heartbeat, login, RESULT, TAG, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

interface Vector {
  readonly name: string;
  readonly what: string;
  readonly hex: string;
  readonly result: keyof typeof RESULT;
}

const vectors = (
  JSON.parse(readFileSync(join(__dirname, '..', 'vectors', 'frames.json'), 'utf8')) as { vectors: Vector[] }
).vectors.filter(({ what }) => what === 'bad request');

const CLOSING = new Set(['MALFORMED', 'UNSUPPORTED_VERSION']);

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;
let terminal: Terminal;
let sequence = 0;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
  terminal = await operator.provision();
});

afterAll(() => deployment?.close());

test('there are 27 of them', () => expect(vectors).toHaveLength(27));

describe.each(vectors)('$name', ({ hex, result }) => {
  const bad = Buffer.from(hex, 'hex');
  // What stands behind a refused header belongs to the frame that was refused.
  const expected = {
    result: RESULT[result],
    suite: 0,
    version: 0x0400,
    length: 28,
    command: bad.readUInt16BE(2) | 0x8000,
    sequence: bad.readUInt32BE(4),
  };

  test('whole', async () => {
    const socket = await RawTerminal.open(gateway);
    expect(await socket.ask(bad)).toMatchObject(expected);
    await expectFate(socket, result);
  });

  test('byte by byte', async () => {
    const socket = await RawTerminal.open(gateway);
    for (const byte of bad) {
      if (!socket.closed && socket.received.length === 0) socket.send(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await socket.next()).toMatchObject(expected);
    socket.close();
  });

  test('glued to its neighbours', async () => {
    const socket = await RawTerminal.open(gateway);
    const before = login(terminal, { sequence: ++sequence, password: Buffer.from('nobody') });
    const after = login({ ...terminal, serial: 'NOBODY' }, { sequence: ++sequence });
    socket.send(before, bad, after);
    expect((await socket.next()).result).toBeOneOf([RESULT.AUTH_FAILED, RESULT.THROTTLED]);
    expect(await socket.next()).toMatchObject(expected);
    if (CLOSING.has(result)) return socket.end();
    expect((await socket.next()).result).toBeOneOf([RESULT.AUTH_FAILED, RESULT.THROTTLED]);
    socket.close();
  });
});

async function expectFate(socket: RawTerminal, result: string): Promise<void> {
  if (CLOSING.has(result)) return socket.end();
  expect((await socket.ask(login(terminal, { sequence: ++sequence }))).result).toBeOneOf([
    RESULT.OK,
    RESULT.THROTTLED,
  ]);
  socket.close();
}

describe('an answer that is none gets DISCONNECT 6, not an answer', () => {
  const PROTOCOL_ERROR = 6;
  const bad = (result = 0) => {
    const frame = Buffer.alloc(28);
    frame.writeUInt16BE(28, 0);
    frame.writeUInt16BE(COMMAND.CREDENTIAL_NOTICE | 0x8000, 2);
    frame.writeUInt16BE(0x0400, 8);
    frame[11] = result;
    frame.write('T1', 12);
    return frame;
  };

  test.each([
    ['unsigned', bad()],
    ['with a result', bad(RESULT.AUTH_FAILED)],
  ])('%s, signed where a session stands', async (_, frame) => {
    const known = await operator.provision();
    const [inside, outside] = await Promise.all([RawTerminal.open(gateway), RawTerminal.open(gateway)]);
    expect((await inside.ask(login(known))).result).toBe(RESULT.OK);
    for (const socket of [inside, outside]) {
      const told = await socket.askOnce(frame);
      expect(told).toMatchObject({ command: COMMAND.DISCONNECT, result: 0 });
      expect(told.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(PROTOCOL_ERROR);
      expect(socket === inside ? downlinkFlaw(told, known) : told.digest).toBeUndefined();
      await socket.end();
    }
  });
});

test('junk of every length ends in an answer or a closed connection, and the gateway lives', async () => {
  const junk = Array.from({ length: 60 }, (_, i) =>
    Buffer.alloc(i * 7 + 1).map((_b, n) => (n * 37 + i) & 255),
  );
  await Promise.all(
    junk.map(async (bytes) => {
      const socket = await RawTerminal.open(gateway);
      socket.socket.end(bytes);
      await socket.end();
    }),
  );
  const known = await operator.provision();
  const socket = await RawTerminal.open(gateway);
  expect((await socket.ask(login(known))).result).toBe(RESULT.OK);
  expect((await socket.ask(heartbeat(known, { sequence: 2 }))).result).toBe(RESULT.OK);
  socket.close();
});

test('a flood of junk from one address is a few lines with counts', async () => {
  const bad = Buffer.from(vectors[0]!.hex, 'hex');
  const told = () =>
    gateway.log.filter(
      (line) => line['event.action'] === 'frame-refused' && line['source.ip'] === '127.0.0.9',
    );
  const counted = () => told().reduce((sum, line) => sum + (line['m2m.count'] as number), 0);
  const started = Date.now();
  for (let i = 0; i < 200; i++) {
    const socket = await RawTerminal.open(gateway, '127.0.0.9');
    await socket.ask(bad);
    socket.close();
  }
  const seconds = Math.ceil((Date.now() - started) / 1000);
  await eventually('200 refusals', () => counted() >= 200);
  expect(counted()).toBe(200);
  expect(told().length).toBeLessThanOrEqual(2 * (seconds + 2));
});
