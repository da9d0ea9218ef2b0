/** Behind a load balancer: whom its header tells of is whom log, views and throttling know. */
import { Deployment } from '../support/deployment';
import { runCommand, type GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { heartbeat, login, RESULT, type Terminal } from '../support/oracle';
import { local, proxied } from '../support/proxy';
import { RawTerminal } from '../support/socket';

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;

const v2 = { M2M_PROXY_PROTOCOL: 'v2', M2M_PROXY_TRUSTED: '127.0.0.1, 2001:db8::/32' };

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start(v2);
});

afterAll(() => deployment?.close());

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

async function dial(localAddress?: string, to: GatewayProcess = gateway): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(to, localAddress);
  open.push(terminal);
  return terminal;
}

/** What log and views tell of the terminal's login. */
async function told({ serial }: Terminal): Promise<unknown> {
  const line = await gateway.logged(
    (each) => each['event.action'] === 'terminal-login' && each['device.id'] === serial,
  );
  const [row] = await operator.sql<{ status: string; live: string }>(
    `SELECT host(s.address) AS status, host(l.address) AS live
     FROM m2m.terminal_status s JOIN m2m.live_session l USING (serial) WHERE serial = $1`,
    [serial],
  );
  return { log: [line['source.ip'], line['source.port']], ...row };
}

async function refusedFor(reason: string, by = gateway): Promise<number> {
  const metrics = await (await fetch(`${by.ops}/metrics`)).text();
  return Number(new RegExp(`m2m_refused_connections_total{reason="${reason}"} (\\d+)`).exec(metrics)?.[1]);
}

test.each([
  ['IPv4', '198.51.100.7', '198.51.100.7'],
  ['IPv6', '2001:db8:0:0:0:0:0:5', '2001:db8::5'],
  ['IPv4-mapped', '0:0:0:0:0:ffff:cb00:7109', '203.0.113.9'],
  ['IPv6 that only looks so', '0:0:0:ffff:1:2:3:4', '::ffff:1:2:3:4'],
])('the address of a header for %s, glued to a login', async (_, address, shown) => {
  const terminal = await operator.provision();
  const socket = await dial();
  expect((await socket.ask(Buffer.concat([proxied(address, 40_123), login(terminal)]))).result).toBe(
    RESULT.OK,
  );
  expect(await told(terminal)).toEqual({ log: [shown, 40_123], status: shown, live: shown });
  expect((await socket.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
});

test('header and login byte by byte', async () => {
  const terminal = await operator.provision();
  const socket = await dial();
  for (const byte of Buffer.concat([proxied('198.51.100.8', 5), login(terminal)])) {
    await new Promise((resolve) => socket.socket.write(Buffer.of(byte), resolve));
  }
  expect((await socket.next()).result).toBe(RESULT.OK);
  expect(await told(terminal)).toMatchObject({ log: ['198.51.100.8', 5], status: '198.51.100.8' });
});

test('LOCAL has the address of the connection', async () => {
  const terminal = await operator.provision();
  const socket = await dial();
  const { localPort } = socket.socket;
  expect((await socket.ask(Buffer.concat([local(), login(terminal)]))).result).toBe(RESULT.OK);
  expect(await told(terminal)).toEqual({
    log: ['127.0.0.1', localPort],
    status: '127.0.0.1',
    live: '127.0.0.1',
  });
});

test('who is not trusted is closed before he has said a word', async () => {
  const socket = await dial('127.0.0.2');
  await socket.end();
  expect(socket.received).toEqual([]);
  expect(await gateway.logged((line) => line['m2m.detail'] === 'proxy-untrusted')).toMatchObject({
    'event.action': 'connection-refused',
    'source.ip': '127.0.0.2',
  });
  expect(await refusedFor('proxy-untrusted')).toBeGreaterThan(0);
});

test('a login without a header is malformed', async () => {
  const terminal = await operator.provision();
  const socket = await dial();
  socket.send(login(terminal));
  await socket.end();
  expect(socket.received).toEqual([]);
  expect(await gateway.logged((line) => line['m2m.detail'] === 'proxy-malformed')).toMatchObject({
    'event.action': 'connection-refused',
    'source.ip': '127.0.0.1',
  });
  expect(await refusedFor('proxy-malformed')).toBeGreaterThan(0);
});

test('throttling is by the address told, not by that of the load balancer', async () => {
  const terminal = await operator.provision();
  const attacker = await dial();
  attacker.send(proxied('198.51.100.66', 1));
  const results: number[] = [];
  // The pauses begin with one second and double: a slow machine comes after the first ones, not after all.
  while (results.at(-1) !== RESULT.THROTTLED && results.length < 18) {
    const guess = login(terminal, { sequence: results.length, password: Buffer.from('guess') });
    results.push((await attacker.ask(guess)).result);
  }
  expect(results.at(-1)).toBe(RESULT.THROTTLED);
  const itself = await dial();
  expect((await itself.ask(Buffer.concat([proxied('198.51.100.67', 1), login(terminal)]))).result).toBe(
    RESULT.OK,
  );
});

test('no header by the login deadline', async () => {
  const environment = { ...v2, M2M_LOGIN_DEADLINE: '1' };
  const hasty = await deployment.start(environment);
  try {
    const [silent, slow] = [await dial(undefined, hasty), await dial(undefined, hasty)];
    slow.send(proxied('198.51.100.7', 1).subarray(0, 20));
    await Promise.all([silent.end(), slow.end()]);
    await hasty.logged((line) => line['m2m.detail'] === 'proxy-missing');
    expect(await refusedFor('proxy-missing', hasty)).toBe(2);
  } finally {
    await hasty.stop();
  }
});

test('off: terminals connect without a header; a list of trusted addresses that is not used is pointed out', async () => {
  const environment = { M2M_PROXY_TRUSTED: '127.0.0.9' };
  const plain = await deployment.start(environment);
  try {
    const terminal = await operator.provision();
    expect((await (await dial(undefined, plain)).ask(login(terminal))).result).toBe(RESULT.OK);
    expect(plain.stderr()).toContain('M2M_PROXY_TRUSTED is ignored while M2M_PROXY_PROTOCOL is off\n');
  } finally {
    await plain.stop();
  }
});

test.each([
  [{ M2M_PROXY_PROTOCOL: 'v1' }, 'm2m: M2M_PROXY_PROTOCOL holds "v1"; it may hold off, v2\n'],
  [{ M2M_PROXY_PROTOCOL: 'v2' }, 'm2m: M2M_PROXY_TRUSTED holds nothing, so that'],
  [
    { ...v2, M2M_PROXY_TRUSTED: '10.0.0.0/99' },
    'm2m: M2M_PROXY_TRUSTED holds "10.0.0.0/99"; it may hold CIDRs',
  ],
])('%j ends with 2', async (environment, says) => {
  const ended = await runCommand(['serve'], { DATABASE_URL: deployment.database.url, ...environment });
  expect(ended.code).toBe(2);
  expect(ended.stderr).toContain(says);
});
