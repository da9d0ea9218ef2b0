/** Two gateways behind a real haproxy: terminals by their own addresses, health checks, a rolling restart. */
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { certify } from '../support/certificate';
import { createDatabase, type TestDatabase } from '../support/database';
import { describeWith } from '../support/debian';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Haproxy, HAPROXY_HOST } from '../support/haproxy';
import { Operator } from '../support/operator';
import { COMMAND, heartbeat, login, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const describeWithOpenssl = describeWith('openssl', ['version'], 'openssl');
const describeWithHaproxy = describeWith('haproxy', ['-v'], 'haproxy');

/** One that no other test listens at, so that a gateway gets its ports back when it starts again. */
const GATEWAY_HOST = '127.0.0.10:0';

(describeWithOpenssl === describe ? describeWithHaproxy : describeWithOpenssl)('behind haproxy', () => {
  let database: TestDatabase;
  let home: TestHome;
  let operator: Operator;
  let haproxy: Haproxy;
  const gateways = new Map<string, GatewayProcess>();

  /** @param again takes the ports of the one that ran under this name before */
  async function start(id: string, again?: { listen: string; tlsListen: string }): Promise<GatewayProcess> {
    const gateway = await startGateway({
      databaseUrl: database.url,
      home,
      environment: {
        M2M_GATEWAY_ID: id,
        M2M_PROXY_PROTOCOL: 'v2',
        M2M_PROXY_TRUSTED: '127.0.0.1',
        M2M_LISTEN: again?.listen ?? GATEWAY_HOST,
        M2M_TLS_LISTEN: again?.tlsListen ?? GATEWAY_HOST,
        M2M_TLS_CERT: `${home.directory}/gateway.crt`,
        M2M_TLS_KEY: `${home.directory}/gateway.key`,
      },
    });
    gateways.set(id, gateway);
    return gateway;
  }

  function ports(gateway: GatewayProcess): { listen: string; tlsListen: string } {
    const started = gateway.log.find((line) => line['event.action'] === 'gateway-started')!;
    return { listen: started['m2m.listen'] as string, tlsListen: started['m2m.tls_listen'] as string };
  }

  const behind = (gateway: GatewayProcess) => ({
    plain: ports(gateway).listen,
    tls: ports(gateway).tlsListen,
  });

  beforeAll(async () => {
    database = await createDatabase();
    home = testHome();
    certify(home.directory, 'gateway');
    const [first, second] = [await start('gw-1'), await start('gw-2')];
    operator = await Operator.connect(database.url);
    // Checks that come and go without a word, as those of other load balancers.
    const silent = [first, second].map((gateway, i) => `  server gw-${i + 1} ${ports(gateway).listen}`);
    const silentTls = [first, second].map((gateway, i) => `  server gw-${i + 3} ${ports(gateway).tlsListen}`);
    const head = '\nbackend silent-checks\n  default-server check inter 1s no-send-proxy-v2\n';
    const more = [head, ...silent, ...silentTls].join('\n') + '\n';
    haproxy = await Haproxy.start(home.directory, [behind(first), behind(second)], more);
  });

  afterAll(async () => {
    await haproxy?.stop();
    await operator?.close();
    for (const gateway of gateways.values()) await gateway.stop();
    await database?.drop();
    home?.remove();
  });

  const open: RawTerminal[] = [];
  afterEach(() => {
    for (const terminal of open.splice(0)) terminal.close();
  });

  async function dial(localAddress: string): Promise<RawTerminal> {
    const raw = await RawTerminal.open({ host: HAPROXY_HOST, port: haproxy.port }, localAddress);
    open.push(raw);
    return raw;
  }

  async function dialTls(localAddress: string): Promise<RawTerminal> {
    const tcp = connectTcp({ host: HAPROXY_HOST, port: haproxy.tlsPort, localAddress });
    const socket = connectTls({ socket: tcp, rejectUnauthorized: false });
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve).once('error', reject);
    });
    const raw = RawTerminal.over(socket);
    open.push(raw);
    return raw;
  }

  /** Logs in, and checks that the terminal's own address and port are known. @returns its gateway's name */
  async function logIn(raw: RawTerminal, terminal: Terminal, sequence = 1): Promise<string> {
    expect((await raw.ask(login(terminal, { sequence }))).result).toBe(RESULT.OK);
    const [row] = await operator.sql<{ gateway: string; address: string }>(
      'SELECT gateway, host(address) AS address FROM m2m.terminal_status WHERE serial = $1',
      [terminal.serial],
    );
    const { localAddress, localPort } = raw.socket;
    expect(row!.address).toBe(localAddress);
    await gateways
      .get(row!.gateway)!
      .logged(
        (line) =>
          line['event.action'] === 'terminal-login' &&
          line['device.id'] === terminal.serial &&
          line['source.ip'] === localAddress &&
          line['source.port'] === localPort,
      );
    return row!.gateway;
  }

  test.each([
    ['plain', dial],
    ['inside TLS', dialTls],
  ])('terminals from two addresses, on two gateways, %s', async (_, dialled) => {
    const [one, two] = [await operator.provision(), await operator.provision()];
    const first = await dialled('127.0.0.2');
    // From its login on it certainly counts on its server.
    const names = [await logIn(first, one)];
    const second = await dialled('127.0.0.3');
    names.push(await logIn(second, two));
    // Each went where fewer were.
    expect(names.sort()).toEqual(['gw-1', 'gw-2']);
    expect((await first.ask(heartbeat(one, { sequence: 2 }))).result).toBe(RESULT.OK);
    expect((await second.ask(heartbeat(two, { sequence: 2 }))).result).toBe(RESULT.OK);
  });

  test('health checks are no failure and no noise', async () => {
    const refusedNow = async () => {
      const pages = [...gateways.values()].map(async ({ ops }) => (await fetch(`${ops}/metrics`)).text());
      return (await Promise.all(pages)).flatMap((page) =>
        page.split('\n').filter((line) => /^m2m_refused_connections_total{.*} [1-9]/.test(line)),
      );
    };
    expect(await refusedNow()).toEqual([]);
    const noise = [...gateways.values()].flatMap(({ log }) =>
      log.filter((line) => line['log.level'] !== 'info'),
    );
    expect(noise).toEqual([]);
  });

  test('a rolling restart: terminals are sent away and taken by the gateway that stays', async () => {
    const one = await operator.provision();
    let raw = await dial('127.0.0.2');
    let sequence = 1;
    let name = await logIn(raw, one);
    // First as operations.md tells, then a gateway that ends without haproxy's knowing.
    for (const told of [true, false]) {
      const gateway = gateways.get(name)!;
      const server = `gateways/${name}`;
      if (told) await haproxy.command(`set server ${server} state drain`);
      const ended = gateway.stop();
      expect((await raw.next()).command).toBe(COMMAND.DISCONNECT);
      raw = await dial('127.0.0.2');
      const other = await logIn(raw, one, ++sequence);
      expect(other).not.toBe(name);
      expect(await ended).toBe(0);
      const again = await start(name, ports(gateway));
      expect((await fetch(`${again.ops}/readyz`)).status).toBe(200);
      if (told) await haproxy.command(`set server ${server} state ready`);
      await eventually('all are up', async () =>
        (await haproxy.checks()).every((check) => check === 'UP L4OK'),
      );
      name = other;
    }
  });
});
