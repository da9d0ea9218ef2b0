/** The same protocol inside TLS on a second port. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import {
  connect as connectTcp,
  createServer as createTcpServer,
  type AddressInfo,
  type Socket,
} from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { CertificateError, readCertificate } from '../../src/platform/listener/certificate';
import { originOf } from '../../src/platform/listener/origin';
import { TlsDoor } from '../../src/platform/listener/tlsDoor';
import { certify } from '../support/certificate';
import { createDatabase, type TestDatabase } from '../support/database';
import { describeWith } from '../support/debian';
import { eventually } from '../support/eventually';
import { runCommand, startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { heartbeat, login, logout, RESULT } from '../support/oracle';
import { RawTerminal } from '../support/socket';

describeWith(
  'openssl',
  ['version'],
  'openssl',
)('TLS', () => {
  let database: TestDatabase;
  let home: TestHome;
  let gateway: GatewayProcess;
  let operator: Operator;
  let tlsPort: number;

  const path = (name: string) => join(home.directory, name);

  beforeAll(async () => {
    database = await createDatabase();
    home = testHome();
    const first = certify(home.directory, 'first');
    copyFileSync(first.cert, path('live.crt'));
    copyFileSync(first.key, path('live.key'));
    certify(home.directory, 'second');
    gateway = await startGateway({
      databaseUrl: database.url,
      home,
      environment: {
        M2M_TLS_LISTEN: '127.0.0.1:0',
        M2M_TLS_CERT: path('live.crt'),
        M2M_TLS_KEY: path('live.key'),
      },
    });
    operator = await Operator.connect(database.url);
    const started = await gateway.logged((line) => line['event.action'] === 'gateway-started');
    tlsPort = Number((started['m2m.tls_listen'] as string).split(':')[1]);
  });

  afterAll(async () => {
    await operator?.close();
    await gateway?.stop();
    await database?.drop();
    home?.remove();
  });

  const open: { destroy(): unknown }[] = [];
  afterEach(() => {
    for (const socket of open.splice(0)) socket.destroy();
  });

  async function dial(options: object = {}): Promise<TLSSocket> {
    const socket = connect({ host: '127.0.0.1', port: tlsPort, rejectUnauthorized: false, ...options });
    open.push(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve).once('error', reject);
    });
    return socket;
  }

  const nameOf = (socket: TLSSocket) => socket.getPeerCertificate().subject.CN;

  test('a day inside TLS, the last frame with its FIN', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    const raw = RawTerminal.over(socket);
    expect((await raw.ask(login(terminal))).result).toBe(RESULT.OK);
    expect((await raw.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
    const [row] = await operator.sql(
      'SELECT host(address) AS address FROM m2m.live_session WHERE serial = $1',
      [terminal.serial],
    );
    expect(row).toEqual({ address: '127.0.0.1' });
    // The plain port goes on as ever, and takes the session over.
    const plain = await RawTerminal.open(gateway);
    open.push(plain.socket);
    expect((await plain.ask(login(terminal, { sequence: 3 }))).result).toBe(RESULT.OK);
    expect((await raw.next()).command).toBe(0x0047);
    await raw.end();
    expect((await plain.ask(logout(terminal, { sequence: 4 }))).result).toBe(RESULT.OK);
  });

  test('what is no TLS, or too old, is closed, and the log says so', async () => {
    const plain = await RawTerminal.open({ host: '127.0.0.1', port: tlsPort });
    open.push(plain.socket);
    plain.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await plain.end();
    await gateway.logged((line) => line['m2m.detail'] === 'tls-handshake');
    await expect(
      dial({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }),
    ).rejects.toThrow();
    const terminal = await operator.provision();
    expect((await RawTerminal.over(await dial()).ask(login(terminal))).result).toBe(RESULT.OK);
  });

  test('who does not finish the handshake in time is closed, and counts until then', async () => {
    const failed: string[] = [];
    const door = new TlsDoor({
      certificate: readCertificate(path('first.crt'), path('first.key')),
      handshakeLimit: 300,
      onSecure: () => undefined,
      onFailed: ({ address }) => failed.push(address),
    });
    let waiting = 0;
    const server = createTcpServer((socket) => {
      door.take(socket, originOf(socket, Date.now()));
      waiting = door.waiting;
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const socket = connectTcp((server.address() as AddressInfo).port, '127.0.0.1');
    await new Promise((resolve) => socket.once('close', resolve).resume());
    await eventually('a failed handshake', () => failed.length > 0);
    expect([waiting, door.waiting, failed]).toEqual([1, 0, ['127.0.0.1']]);
    await new Promise((resolve) => server.close(resolve));
  });

  test('who resets a connection and comes again from the same port is not taken for the one that went', async () => {
    const failed: string[] = [];
    const secure: Socket[] = [];
    const door = new TlsDoor({
      certificate: readCertificate(path('first.crt'), path('first.key')),
      handshakeLimit: 240_000,
      onSecure: (socket) => secure.push(socket),
      onFailed: ({ address }) => failed.push(address),
    });
    const server = createTcpServer((socket) => door.take(socket, originOf(socket, Date.now())));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const first = connectTcp(port, '127.0.0.1');
    await eventually('the first one', () => door.waiting === 1);
    const { localPort } = first;
    // Both reach the door in one turn of the event loop, the end of the first before the second.
    first.resetAndDestroy();
    const again = connectTcp({ port, host: '127.0.0.1', localPort: localPort! });
    const dialled = connect({ socket: again, rejectUnauthorized: false }).once('error', () => undefined);
    try {
      await eventually('the second one', () => secure.length > 0 || dialled.destroyed);
      expect([secure.length, failed, door.waiting]).toEqual([1, ['127.0.0.1'], 0]);
    } finally {
      for (const socket of [dialled, ...secure]) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('a renewed certificate holds without a restart; one that is broken does not hold', async () => {
    const before = await dial();
    expect(nameOf(before)).toBe('first');
    const terminal = await operator.provision();
    const raw = RawTerminal.over(before);
    expect((await raw.ask(login(terminal))).result).toBe(RESULT.OK);

    const told = (outcome: string, message: string) =>
      gateway.logged(
        (line) =>
          line['event.action'] === 'certificate-changed' &&
          line['event.outcome'] === outcome &&
          String(line['message']).includes(message),
      );
    copyFileSync(path('second.key'), path('live.key'));
    await told('failure', 'is not used');
    copyFileSync(path('first.key'), path('live.key'));
    await told('success', 'fit again');

    const earlier = new Set(gateway.log);
    // As renewals do it, one file after the other.
    copyFileSync(path('second.crt'), path('live.crt'));
    const failure = await gateway.logged(
      (line) =>
        !earlier.has(line) &&
        line['event.action'] === 'certificate-changed' &&
        String(line['error.message']).includes('is not the key of'),
    );
    expect(failure['event.outcome']).toBe('failure');
    expect(nameOf(await dial())).toBe('first');
    copyFileSync(path('second.key'), path('live.key'));
    await told('success', 'new TLS connections see');
    expect(nameOf(await dial())).toBe('second');
    expect((await raw.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);

    const { notAfter } = readCertificate(path('live.crt'), path('live.key'));
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    const series = `m2m_tls_certificate_not_after_timestamp_seconds{listen="127.0.0.1:${tlsPort}"}`;
    expect(metrics).toContain(`${series} ${notAfter / 1000}\n`);
    expect(Math.abs(notAfter - Date.now() - 30 * 86_400_000)).toBeLessThan(86_400_000);
  });

  test('files that are no certificate and key are named, and no key is shown', () => {
    const [cert, key] = [path('first.crt'), path('first.key')];
    writeFileSync(path('junk'), 'hunter2', { mode: 0o600 });
    copyFileSync(key, path('open.key'));
    execFileSync('chmod', ['o=r', path('open.key')]);
    copyFileSync(key, path('writable.key'));
    execFileSync('chmod', ['o=w', path('writable.key')]);
    const cases: [string, string, RegExp][] = [
      [path('none'), key, /none: ENOENT/],
      [cert, path('none'), /none: ENOENT/],
      [path('junk'), key, /junk: holds no certificate in PEM/],
      [cert, path('junk'), /junk: holds no private key/],
      [cert, path('second.key'), /second\.key: is not the key of .*first\.crt/],
      [cert, path('open.key'), /open\.key: everybody may read it/],
      [cert, path('writable.key'), /writable\.key: everybody may/],
    ];
    for (const [one, other, says] of cases) {
      expect(() => readCertificate(one, other)).toThrow(CertificateError);
      expect(() => readCertificate(one, other)).toThrow(says);
      expect(() => readCertificate(one, other)).not.toThrow(/hunter2/);
    }
  });

  test('TLS without its files ends with 2', async () => {
    const environment = {
      DATABASE_URL: database.url,
      M2M_KEY_FILE: home.keyFile,
      M2M_TLS_LISTEN: '127.0.0.1:0',
      M2M_TLS_CERT: path('first.crt'),
    };
    expect(await runCommand(['serve'], environment)).toMatchObject({
      code: 2,
      stderr: 'm2m: M2M_TLS_KEY is not set: M2M_TLS_LISTEN needs the key of its certificate\n',
    });
  });

  test('a file that cannot be used ends with 2, and names its variable', async () => {
    const files = { M2M_TLS_CERT: path('first.crt'), M2M_TLS_KEY: path('first.key') };
    for (const [variable, missing] of [
      ['M2M_TLS_CERT', path('none.crt')],
      ['M2M_TLS_KEY', path('none.key')],
    ] as const) {
      const ended = await runCommand(['serve'], {
        DATABASE_URL: database.url,
        M2M_KEY_FILE: home.keyFile,
        M2M_TLS_LISTEN: '127.0.0.1:0',
        ...files,
        [variable]: missing,
      });
      expect(ended).toMatchObject({ code: 2, stderr: `m2m: ${variable}: ${missing}: ENOENT\n` });
    }
  });

  test('files without a port are told to be ignored', async () => {
    // A wrong setting besides ends it.
    const environment = { M2M_TLS_CERT: path('first.crt'), M2M_OPS_TOKEN_FILE: path('nowhere') };
    expect(await runCommand(['serve'], environment)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^m2m: M2M_TLS_CERT and M2M_TLS_KEY are ignored while /) as string,
    });
  });
});
