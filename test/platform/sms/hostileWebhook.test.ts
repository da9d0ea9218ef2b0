/** A webhook that answers with whatever bytes it likes, or for as long as it likes. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pauseOf, Webhook } from '../../../src/platform/sms/webhook';
import { certify } from '../../support/certificate';
import { eventually } from '../../support/eventually';

const TEXT = { id: 7, serial: 'T-1', msisdn: '+41790000000', text: 'M2M2 C=1 U=secret S=seal' };
const PATIENCE_MS = 200_000;
const OK = 'HTTP/1.1 200 OK\r\n';

let server: Server;
let sockets: Socket[];
/** What to do with each request. */
let answer: (socket: Socket) => void;

beforeEach(async () => {
  sockets = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        if (chunk.toString('latin1').startsWith('POST')) answer(socket);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const send = (patience = PATIENCE_MS) =>
  new Webhook(`http://m2m:hidden@127.0.0.1:${(server.address() as AddressInfo).port}/`, patience).send(TEXT);

/** For as long as it is read. */
function pour(socket: Socket, bytes: string): void {
  const pouring = setInterval(() => socket.write(bytes), 5);
  socket.on('close', () => clearInterval(pouring));
}

test.each([
  ['of any length', (socket: Socket) => socket.write(`${OK}content-length: 9999999999\r\n\r\n`)],
  ['in chunks without end', (socket: Socket) => socket.write(`${OK}transfer-encoding: chunked\r\n\r\n`)],
])('a body %s: the status counts, and the connection is closed', async (_name, head) => {
  answer = (socket) => {
    head(socket);
    pour(socket, '4000\r\n' + 'x'.repeat(0x4000) + '\r\n');
  };
  expect(await send()).toEqual({ kind: 'delivered' });
  await eventually('the end of it', () => sockets.every((socket) => socket.destroyed));
});

test.each([
  [
    'headers without end',
    (socket: Socket) => (socket.write(OK), pour(socket, `x-${'y'.repeat(4_000)}: z\r\n`)),
  ],
  ['no HTTP', (socket: Socket) => socket.write('220 smtp.example ESMTP\r\n')],
  ['half a header', (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nx-')],
  ['nothing, and a goodbye', (socket: Socket) => socket.end()],
  ['a body that contradicts itself', (socket: Socket) => socket.write(`${OK}content-length: a\r\n\r\n`)],
  [
    'an answer of 101',
    (socket: Socket) => socket.end('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
  ],
])('%s: failed, and said without the URL', async (_name, act) => {
  answer = (socket) => void act(socket);
  const { kind, why } = (await send()) as { kind: string; why: string };
  expect(kind).toBe('failed');
  expect(why).toMatch(/^cannot be reached: [A-Z_0-9]+$/);
  await eventually('the end of it', () => sockets.every((socket) => socket.destroyed));
});

test('promises for ever (1xx): failed when its time is over', async () => {
  answer = (socket) => pour(socket, 'HTTP/1.1 102 Processing\r\n\r\n');
  expect(await send(300)).toEqual({ kind: 'failed', why: 'no answer within 0.3 s' });
  await eventually('the end of it', () => sockets.every((socket) => socket.destroyed));
});

test('a certificate of nobody we know: no text goes there', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'm2m-webhook-'));
  const { cert, key } = certify(directory, 'strange');
  let asked = false;
  const https = createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, () => (asked = true));
  rmSync(directory, { recursive: true });
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve));
  const sent = await new Webhook(
    `https://127.0.0.1:${(https.address() as AddressInfo).port}/`,
    PATIENCE_MS,
  ).send(TEXT);
  expect(sent).toEqual({ kind: 'failed', why: 'cannot be reached: DEPTH_ZERO_SELF_SIGNED_CERT' });
  expect(asked).toBe(false);
  await new Promise((resolve) => https.close(resolve));
});

test.each([
  ['429 Too Many', 'retry-after: 7', 7],
  ['503 Unavailable', 'retry-after: 120', 120],
  ['429 Too Many', 'x: y', 1],
])('%s, %s: no texts for %d s', async (status, header, pause) => {
  answer = (socket) => socket.end(`HTTP/1.1 ${status}\r\n${header}\r\ncontent-length: 0\r\n\r\n`);
  expect(await send()).toEqual({ kind: 'failed', why: `HTTP status ${status.slice(0, 3)}`, pause });
});

describe('how long a pause is', () => {
  const NOW = Date.parse('2026-11-24T12:00:00Z');
  test.each([
    [503, 'Tue, 24 Nov 2026 12:00:30 GMT', 30],
    [503, 'Tue, 24 Nov 2026 11:00:00 GMT', undefined],
    [503, null, undefined],
    [503, '0', undefined],
    [503, 'soon', undefined],
    [429, 'soon', 1],
    [429, '-5', 1],
    [500, '30', undefined],
    [302, '30', undefined],
  ])('%d with %s: %s', (status, told, pause) => {
    expect(pauseOf(status, told, NOW)).toBe(pause);
  });
});
