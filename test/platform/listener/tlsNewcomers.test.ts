/** Handshakes that come to nothing give their source back the room that they took. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { readCertificate } from '../../../src/platform/listener/certificate';
import { Listener } from '../../../src/platform/listener/listener';
import { Newcomers } from '../../../src/platform/listener/newcomers';
import { headerJudge } from '../../../src/protocol/judge';
import { certify } from '../../support/certificate';
import { eventually } from '../../support/eventually';

const MOST = 2;
const DEADLINE = 600_000;

let folder: string;
let listener: Listener;
let port: number;
const refused: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tls-'));
  const { cert, key } = certify(folder, 'one');
  listener = new Listener({
    judge: headerJudge(4096),
    handler: { handle: () => ({}), failed: () => undefined, closed: () => undefined },
    now: () => 1_800_000_000_000,
    loginDeadline: DEADLINE,
    idleLimit: DEADLINE,
    newcomers: new Newcomers(MOST),
    hasRoom: () => true,
    proxies: undefined,
    onRefused: (reason) => refused.push(reason),
  });
  const where = await listener.listenTls({ host: '127.0.0.1', port: 0 }, readCertificate(cert, key));
  port = Number(where.split(':')[1]);
});

afterAll(() => {
  listener.stopAccepting();
  listener.destroyAll();
  rmSync(folder, { recursive: true });
});

test('more of them than a source may have at once do not shut it out', async () => {
  for (let n = 1; n <= 3 * MOST; n++) {
    const socket = connectPlain(port, '127.0.0.1').on('error', () => undefined);
    socket.end('this is no TLS');
    await eventually('it is sent away', () => refused.length === n);
    expect(refused.at(-1)).toBe('tls-handshake');
    socket.destroy();
  }
  const terminal: TLSSocket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  terminal.on('error', () => undefined);
  await eventually('it is let in', () => listener.connections.size === 1);
  terminal.destroy();
});
