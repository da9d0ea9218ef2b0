/** The HTTP server's bounds. */
import { connect, type AddressInfo, type Socket } from 'node:net';
import { createOpsServer } from '../../../src/platform/ops/http';
import { eventually } from '../../support/eventually';

const server = createOpsServer({
  notReady: () => undefined,
  metrics: () => Promise.reject(new Error('hidden')),
  metricsType: 'text/plain',
  introspect: () => Promise.reject(new Error('hidden')),
});
const sockets: Socket[] = [];

beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
});

const url = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
const CLOSE = { connection: 'close' };

test('what fails inside is told in general', async () => {
  for (const [path, method] of [
    ['/metrics', 'GET'],
    ['/v1/sessions/introspect', 'POST'],
  ] as const) {
    const answer = await fetch(url(path), { method, headers: CLOSE });
    expect([answer.status, await answer.text()]).toEqual([500, 'internal error\n']);
  }
});

test('HEAD is served where GET is', async () => {
  const answer = await fetch(url('/healthz?from=balancer'), { method: 'HEAD', headers: CLOSE });
  expect([answer.status, answer.headers.get('content-length'), await answer.text()]).toEqual([200, '3', '']);
});

test('a request that is long in coming is given up, and connections that only stand take no more than 256', async () => {
  expect(server).toMatchObject({ requestTimeout: 5_000, headersTimeout: 5_000, maxConnections: 256 });
  let closed = 0;
  for (let n = 0; n < 257; n++) {
    const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    sockets.push(
      socket
        .on('error', () => undefined)
        .on('close', () => closed++)
        .resume(),
    );
  }
  await eventually('the end of one', () => closed > 0);
});
