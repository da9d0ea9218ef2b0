/** TLS in front of a listener: whose handshakes count as failed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCertificate } from '../../../src/platform/listener/certificate';
import { originOf, type Origin } from '../../../src/platform/listener/origin';
import { TlsDoor } from '../../../src/platform/listener/tlsDoor';
import { certify } from '../../support/certificate';
import { eventually } from '../../support/eventually';

let folder: string;
let door: TlsDoor;
let server: Server;
let isLocal: boolean;
let taken: number;
let failed: Origin[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tls-'));
  const { cert, key } = certify(folder, 'one');
  [isLocal, taken, failed] = [false, 0, []];
  door = new TlsDoor({
    certificate: readCertificate(cert, key),
    handshakeLimit: 300_000,
    onSecure: (socket) => void socket.destroy(),
    onFailed: (origin) => void failed.push(origin),
  });
  server = createServer((socket) => {
    door.take(socket, { ...originOf(socket, 0), local: isLocal });
    taken++;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  door.destroyAll();
  server.close();
  rmSync(folder, { recursive: true });
});

/** Comes, and goes without a word of TLS. */
async function comeAndGo(): Promise<void> {
  const before = taken;
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  await eventually('it is taken', () => taken > before);
  socket.destroy();
  await eventually('it is gone', () => door.waiting === 0);
}

test('who goes without a handshake has failed; a load balancer that only looks has not', async () => {
  isLocal = true;
  await comeAndGo();
  expect(failed).toEqual([]);
  isLocal = false;
  await comeAndGo();
  expect(failed).toHaveLength(1);
});
