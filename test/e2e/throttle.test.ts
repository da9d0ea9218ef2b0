/** Who guesses passwords, and who fills the door: two gateways on one database. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import { newTerminal, type Operator } from '../support/operator';
import { login, RESULT, TAG, type Parsed, type Terminal } from '../support/oracle';
import { proxied } from '../support/proxy';
import { RawTerminal } from '../support/socket';

let deployment: Deployment;
let gateways: [GatewayProcess, GatewayProcess];
let operator: Operator;

const start = (name: string, environment: Record<string, string> = {}) =>
  deployment.start({ M2M_GATEWAY_ID: name, ...environment });

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateways = [await start('one'), await start('other')];
});

afterAll(() => deployment?.close());

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

async function dial(to: GatewayProcess, from: string): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(to, from);
  open.push(terminal);
  return terminal;
}

let sequence = 0;
async function attempt(
  to: GatewayProcess,
  from: string,
  terminal: Terminal,
  password?: Buffer,
): Promise<Parsed> {
  const socket = await dial(to, from);
  return socket.ask(login(terminal, { sequence: ++sequence, ...(password && { password }) }));
}

const GUESS = Buffer.from('guess');

async function failures(serial: string): Promise<number> {
  const [row] = await operator.sql<{ failures: string }>(
    'SELECT failures FROM m2m.throttle WHERE serial = $1',
    [serial],
  );
  return Number(row?.failures ?? 0);
}

/** As if so many had failed on a third gateway, and went on. */
async function slowDown(serial: string, address: string, count: number): Promise<void> {
  await operator.sql(
    `INSERT INTO m2m.throttle (serial, address, failures, last_failure_at, expires_at)
     VALUES ($1, $2, $3, now() + interval '1 hour', now() + interval '1 hour')`,
    [serial, address, count],
  );
}

/** Resolves when the gateway answers a guess from there so. */
async function told(to: GatewayProcess, from: string, terminal: Terminal): Promise<Parsed> {
  return eventually('THROTTLED', async () => {
    const answer = await attempt(to, from, terminal, GUESS);
    return answer.result === RESULT.THROTTLED ? answer : undefined;
  });
}

test('failures on one gateway count on the other', async () => {
  const [one, other] = gateways;
  const terminal = await operator.provision();
  for (let i = 0; i < 8; i++)
    expect((await attempt(one, '127.0.0.2', terminal, GUESS)).result).toBe(RESULT.AUTH_FAILED);
  await eventually('eight failures', async () => (await failures(terminal.serial)) === 8);
  let judged = 0;
  // The pauses begin with one second and double: a slow machine comes after the first ones, not after all.
  while ((await attempt(other, '127.0.0.2', terminal, GUESS)).result !== RESULT.THROTTLED) {
    judged++;
    await eventually('one more', async () => (await failures(terminal.serial)) === 8 + judged);
  }
  // By itself it would have judged ten.
  expect(judged).toBeLessThan(10);
});

test('slowed down on both, from there only; shown; an operator lifts it on both', async () => {
  const terminal = await operator.provision();
  await slowDown(terminal.serial, '127.0.0.2', 100);
  for (const gateway of gateways) {
    const answer = await told(gateway, '127.0.0.2', terminal);
    const retryAfter = answer.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0);
    expect(retryAfter).toBeGreaterThan(0);
    expect(retryAfter).toBeLessThanOrEqual(60_000);
    expect((await attempt(gateway, '127.0.0.3', terminal)).result).toBe(RESULT.OK);
  }
  const shown = `SELECT serial, host(address) AS address, until > now() AS ahead, why FROM m2m.throttled
    WHERE serial = $1`;
  expect(await operator.sql(shown, [terminal.serial])).toEqual([
    {
      serial: terminal.serial,
      address: '127.0.0.2',
      ahead: true,
      why: 'failed attempts of this serial from this address',
    },
  ]);
  expect(await operator.sql('SELECT m2m.lift_throttle($1) AS answer', [terminal.serial])).toEqual([
    { answer: 'lifted' },
  ]);
  for (const gateway of gateways) {
    await gateway.logged(
      (line) => line['event.action'] === 'throttle-lifted' && line['device.id'] === terminal.serial,
    );
    expect((await attempt(gateway, '127.0.0.2', terminal)).result).toBe(RESULT.OK);
  }
  expect(await operator.sql(shown, [terminal.serial])).toEqual([]);
});

test('an address as a whole: every serial from there, known or not, until it is lifted', async () => {
  const terminal = await operator.provision();
  await slowDown('', '127.0.0.4', 5_000);
  for (const gateway of gateways) {
    await told(gateway, '127.0.0.4', terminal);
    await told(gateway, '127.0.0.4', newTerminal());
    expect((await attempt(gateway, '127.0.0.3', terminal)).result).toBe(RESULT.OK);
  }
  await operator.sql(`SELECT m2m.lift_throttle(address => '127.0.0.4')`);
  for (const gateway of gateways) {
    const from = 'failed attempts of all serials from 127.0.0.4/32 are forgotten';
    await gateway.logged((line) => line['message'] === from);
    expect((await attempt(gateway, '127.0.0.4', terminal)).result).toBe(RESULT.OK);
  }
});

test('once the delay has passed the right password is let in, and the count ends', async () => {
  const [gateway] = gateways;
  const terminal = await operator.provision();
  const { serial } = terminal;
  const first = await told(gateway, '127.0.0.2', terminal);
  expect(first.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0)).toBeGreaterThan(0);
  await eventually('OK', async () => {
    const answer = await attempt(gateway, '127.0.0.2', terminal);
    expect(answer.result).toBeOneOf([RESULT.OK, RESULT.THROTTLED]);
    if (answer.result === RESULT.OK) return true;
    const wait = answer.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0);
    await new Promise((resolve) => setTimeout(resolve, wait));
    return undefined;
  });
  await eventually('no count', async () => (await failures(serial)) === 0);
  expect((await attempt(gateway, '127.0.0.2', terminal, GUESS)).result).toBe(RESULT.AUTH_FAILED);
});

test('whoever comes too soon has no longer than others to log in, and is a line a second in the log', async () => {
  const gateway = await start('third', { M2M_LOGIN_DEADLINE: '3' });
  const terminal = await operator.provision();
  await slowDown(terminal.serial, '127.0.0.6', 100);
  const retryAfter = (await told(gateway, '127.0.0.6', terminal)).tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0);
  const started = Date.now();
  const socket = await dial(gateway, '127.0.0.6');
  const frames = Array.from({ length: 200 }, () => login(terminal, { sequence: ++sequence }));
  socket.send(...frames);
  await socket.end();
  const elapsed = Date.now() - started;
  expect(elapsed).toBeLessThan(retryAfter);
  const counted = () =>
    gateway.log
      .filter((line) => line['source.ip'] === '127.0.0.6' && line['m2m.detail'] === 'failed-attempts')
      .map((line) => (line['m2m.count'] as number | undefined) ?? 1);
  const all = () => counted().reduce((sum, count) => sum + count, 0);
  await eventually('all of them', () => all() > socket.received.length);
  expect(counted().length).toBeLessThanOrEqual(2 * (elapsed / 1_000 + 3));
});

test('a serial that nobody had a moment ago is let in as soon as it is provisioned', async () => {
  const terminal = newTerminal();
  for (const gateway of gateways) {
    for (let i = 0; i < 4; i++)
      expect((await attempt(gateway, '127.0.0.2', terminal)).result).toBe(RESULT.AUTH_FAILED);
  }
  const { serial, imei, imsi, uplinkPassword, downlinkPassword } = terminal;
  await operator.sql('SELECT m2m.provision_terminal($1, $2, $3, $4, $5)', [
    serial,
    imei,
    imsi,
    uplinkPassword,
    downlinkPassword,
  ]);
  for (const gateway of gateways) {
    await gateway.logged(
      (line) => line['event.action'] === 'terminal-provisioned' && line['device.id'] === serial,
    );
    expect((await attempt(gateway, '127.0.0.2', terminal)).result).toBe(RESULT.OK);
  }
});

test('a stranger who is spared the query is refused like anybody else, no sooner', async () => {
  const delay = 500;
  const gateway = await start('slow', { M2M_REFUSAL_DELAY: String(delay) });
  try {
    const [known, stranger] = [await operator.provision(), newTerminal()];
    const socket = await dial(gateway, '127.0.0.7');
    const answers: Partial<Parsed>[] = [];
    for (const terminal of [known, stranger, stranger, stranger]) {
      const begun = performance.now();
      const answer = await socket.ask(login(terminal, { sequence: ++sequence, password: GUESS }));
      // It counts from when the frame is there, by a clock of whole milliseconds.
      expect(performance.now() - begun).toBeGreaterThan(delay - 5);
      const { length, command, version, suite, result, tlvs, digest } = answer;
      answers.push({ length, command, version, suite, result, tlvs, digest });
    }
    expect(answers[0]).toMatchObject({ result: RESULT.AUTH_FAILED, suite: 0, tlvs: new Map() });
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  } finally {
    await gateway.stop();
  }
});

describe('newcomers', () => {
  const refused = async (gateway: GatewayProcess): Promise<number> => {
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    return Number(/m2m_refused_connections_total{reason="newcomers"} (\d+)/.exec(metrics)?.[1]);
  };

  test('so many connections of one address that have not logged in, no more', async () => {
    const gateway = await start('narrow', { M2M_MAX_NEWCOMERS: '2' });
    try {
      const terminal = await operator.provision();
      const [first, second] = [await dial(gateway, '127.0.0.5'), await dial(gateway, '127.0.0.5')];
      // Connections are accepted in the order in which they were made.
      await (await dial(gateway, '127.0.0.5')).end();
      const line = await gateway.logged((each) => each['m2m.detail'] === 'newcomers');
      expect(line).toMatchObject({ 'event.action': 'connection-refused', 'source.ip': '127.0.0.5' });
      expect(await refused(gateway)).toBe(1);
      expect((await attempt(gateway, '127.0.0.6', terminal)).result).toBe(RESULT.OK);
      expect((await first.ask(login(terminal, { sequence: ++sequence }))).result).toBe(RESULT.OK);
      const third = await dial(gateway, '127.0.0.5');
      await third.ask(login(newTerminal()));
      await (await dial(gateway, '127.0.0.5')).end();
      second.close();
      await eventually('room', async () => {
        const again = await dial(gateway, '127.0.0.5');
        again.send(login(newTerminal()));
        return again.next().then(
          () => true,
          () => undefined,
        );
      });
    } finally {
      await gateway.stop();
    }
  });

  test('behind a load balancer by the address that it tells', async () => {
    const gateway = await start('behind', {
      M2M_MAX_NEWCOMERS: '1',
      M2M_PROXY_PROTOCOL: 'v2',
      M2M_PROXY_TRUSTED: '127.0.0.1',
    });
    try {
      const from = async (address: string) => {
        const socket = await dial(gateway, '127.0.0.1');
        socket.send(proxied(address, 1), login(newTerminal(), { sequence: ++sequence }));
        return socket;
      };
      expect((await (await from('198.51.100.1')).next()).result).toBe(RESULT.AUTH_FAILED);
      await (await from('198.51.100.1')).end();
      expect((await (await from('198.51.100.2')).next()).result).toBe(RESULT.AUTH_FAILED);
      expect(await refused(gateway)).toBe(1);
      const line = await gateway.logged((each) => each['m2m.detail'] === 'newcomers');
      expect(line['source.ip']).toBe('198.51.100.1');
    } finally {
      await gateway.stop();
    }
  });
});
