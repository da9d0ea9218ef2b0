/** Two gateways on one database, changes in SQL on live sessions, and what outlives a kill -9. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import {
  COMMAND,
  downlinkFlaw,
  heartbeat,
  login,
  loginForKey,
  logout,
  RESULT,
  sessionKey,
  SUITE,
  TAG,
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';

const SUPERSEDED = 1;
const SUSPENDED = 2;
const CHANGED = 3;
const EXPIRED = 5;

let deployment: Deployment;
let one: GatewayProcess;
let two: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  const start = (name: string, workers: number) =>
    deployment.start({ M2M_GATEWAY_ID: name, M2M_WORKERS: String(workers) });
  [one, two] = await Promise.all([start('one', 1), start('two', 2)]);
});

afterAll(() => deployment?.close());

async function loggedIn(
  gateway: GatewayProcess,
  terminal: Terminal,
  sequence = 1,
  suite: number = SUITE.HMAC,
) {
  const socket = await RawTerminal.open(gateway);
  const asked = login(terminal, { sequence, suite });
  expect((await socket.ask(asked)).result).toBe(RESULT.OK);
  return { socket, asked };
}

function expectDisconnect(frame: Parsed, terminal: Terminal, reason: number): void {
  expect(frame.command).toBe(COMMAND.DISCONNECT);
  expect(frame.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBe(reason);
  expect(downlinkFlaw(frame, terminal)).toBeUndefined();
}

describe('takeover', () => {
  test.each([
    ['on another gateway', () => two],
    ['on the same gateway', () => one],
  ])('a newer login %s sends DISCONNECT 1 to the older one', async (_where, newer) => {
    const terminal = await operator.provision();
    const older = await loggedIn(one, terminal);
    const { socket } = await loggedIn(newer(), terminal, 2);
    expectDisconnect(await older.socket.next(), terminal, SUPERSEDED);
    await older.socket.end();
    expect((await socket.ask(heartbeat(terminal, { sequence: 3 }))).result).toBe(RESULT.OK);
    const shown = async () => {
      const text = 'SELECT gateway, connected FROM m2m.live_session WHERE serial = $1';
      return (await operator.sql(text, [terminal.serial]))[0]!;
    };
    await eventually('a connected session', async () => (await shown())['connected'] === true);
    expect((await shown())['gateway']).toBe(newer() === one ? 'one' : 'two');
    socket.close();
  });

  test('logins of one terminal from everywhere at once: one session is left, and one connection', async () => {
    const terminal = await operator.provision();
    const sockets = await Promise.all(
      Array.from({ length: 12 }, (_, i) => RawTerminal.open(i % 2 ? one : two)),
    );
    const answers = await Promise.all(
      sockets.map((socket, i) => socket.askOnce(login(terminal, { sequence: i }))),
    );
    for (const { result } of answers) expect(result).toBeOneOf([RESULT.OK, RESULT.BUSY]);
    await eventually(
      'one connection',
      () => sockets.filter((socket, i) => answers[i]!.result === RESULT.OK && !socket.closed).length === 1,
    );
    const left = sockets.findIndex((socket, i) => answers[i]!.result === RESULT.OK && !socket.closed);
    const [row] = await operator.sql('SELECT session_id FROM m2m.live_session WHERE serial = $1', [
      terminal.serial,
    ]);
    expect(row).toEqual({ session_id: answers[left]!.tlvs.get(TAG.SESSION_ID)!.toString('hex') });
    for (const socket of sockets) socket.close();
  });
});

test('a gateway that stood still so long that nobody told it anything looks for itself', async () => {
  const terminal = await operator.provision();
  const older = await loggedIn(one, terminal);
  one.child.kill('SIGSTOP');
  await operator.sql(`UPDATE m2m.instance SET seen_at = now() - interval '1 min' WHERE gateway = 'one'`);
  const { socket } = await loggedIn(two, terminal, 2);
  one.child.kill('SIGCONT');
  expectDisconnect(await older.socket.next(), terminal, SUPERSEDED);
  await older.socket.end();
  expect((await socket.ask(heartbeat(terminal, { sequence: 3 }))).result).toBe(RESULT.OK);
  socket.close();
});

describe('replay', () => {
  test('a login is never taken twice: same connection, other connection, other gateway', async () => {
    const terminal = await operator.provision();
    const { socket, asked } = await loggedIn(one, terminal);
    for (const again of [socket, await RawTerminal.open(one), await RawTerminal.open(two)]) {
      const answer = await again.ask(asked);
      expect(answer.result).toBe(RESULT.REPLAY);
      expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
      if (again !== socket) again.close();
    }
    expect((await socket.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
    socket.close();
  });

  test('two copies at once, on two gateways: one is taken', async () => {
    const terminal = await operator.provision();
    const asked = login(terminal);
    const answers = await Promise.all(
      [one, two].map(async (gateway) => (await RawTerminal.open(gateway)).ask(asked)),
    );
    expect(answers.map(({ result }) => result).sort()).toEqual([RESULT.OK, RESULT.REPLAY]);
  });

  test('SESSION_KEY and LOGOUT of an earlier session are REPLAY in a later one', async () => {
    const terminal = await operator.provision();
    const { socket } = await loggedIn(one, terminal, 1);
    const renew = sessionKey(terminal, { sequence: 50 });
    expect((await socket.ask(renew)).result).toBe(RESULT.OK);
    const bye = logout(terminal, { sequence: 51 });
    expect((await socket.ask(bye)).result).toBe(RESULT.OK);
    const later = await loggedIn(two, terminal, 2);
    expect((await later.socket.ask(renew)).result).toBe(RESULT.REPLAY);
    expect((await later.socket.ask(bye)).result).toBe(RESULT.REPLAY);
    expect((await later.socket.ask(heartbeat(terminal, { sequence: 52 }))).result).toBe(RESULT.OK);
    later.socket.close();
  });

  test('refused after kill -9 and a new start as well; the session survived', async () => {
    const terminal = await operator.provision();
    const victim = await deployment.start();
    const { socket, asked } = await loggedIn(victim, terminal);
    await victim.kill();
    socket.close();
    const [live] = await operator.sql('SELECT serial FROM m2m.live_session WHERE serial = $1', [
      terminal.serial,
    ]);
    expect(live).toBeDefined();
    const again = await deployment.start();
    const reconnected = await RawTerminal.open(again);
    expect((await reconnected.ask(asked)).result).toBe(RESULT.REPLAY);
    expect((await reconnected.ask(loginForKey(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
    await again.stop();
  });
});

describe('changes in SQL hold at once', () => {
  const changes: [string, (terminal: Terminal) => [string, unknown[]], number][] = [
    ['suspend', ({ serial }) => [`SELECT m2m.suspend_terminal($1, 'unpaid')`, [serial]], SUSPENDED],
    ['retire', ({ serial }) => ['SELECT m2m.retire_terminal($1)', [serial]], SUSPENDED],
    [
      'rebind',
      ({ serial, imei, imsi }) => [
        'SELECT m2m.rebind_terminal($1, $2, $3)',
        [serial, imei, `${imsi.slice(0, 13)}${imsi.endsWith('99') ? '98' : '99'}`],
      ],
      CHANGED,
    ],
    [
      'set_credentials',
      ({ serial }) => [`SELECT m2m.set_credentials($1, uplink_password => 'brand new')`, [serial]],
      CHANGED,
    ],
    ['disconnect', ({ serial }) => ['SELECT m2m.disconnect_terminal($1)', [serial]], EXPIRED],
  ];

  test.each(changes)('%s ends the live session within a second', async (_name, statement, reason) => {
    const terminal = await operator.provision();
    const { socket } = await loggedIn(two, terminal);
    await operator.sql(...statement(terminal));
    expectDisconnect(await socket.next(), terminal, reason);
    await socket.end();
    expect(await operator.sql('SELECT FROM m2m.live_session WHERE serial = $1', [terminal.serial])).toEqual(
      [],
    );
    expect(
      await two.logged(
        (line) => line['device.id'] === terminal.serial && line['event.action'] === 'session-ended',
      ),
    ).toBeDefined();
  });

  test('new credentials hold for the very next login, whatever a gateway has cached', async () => {
    const terminal = await operator.provision();
    for (const [i, gateway] of [one, two].entries()) (await loggedIn(gateway, terminal, i)).socket.close();
    for (let i = 0; i < 5; i++) {
      const changed = { ...terminal, uplinkPassword: Buffer.from(`password ${i}`) };
      await operator.sql('SELECT m2m.set_credentials($1, uplink_password => $2)', [
        terminal.serial,
        changed.uplinkPassword,
      ]);
      const [right, wrong] = await Promise.all([RawTerminal.open(one), RawTerminal.open(two)]);
      expect((await right.ask(login(changed, { sequence: 10 + i }))).result).toBe(RESULT.OK);
      expect((await wrong.ask(login(terminal, { sequence: 20 + i }))).result).toBe(RESULT.AUTH_FAILED);
      right.close();
      wrong.close();
    }
  });

  test('a suspended terminal is out on a gateway that has its record cached', async () => {
    const terminal = await operator.provision();
    (await loggedIn(one, terminal, 1)).socket.close();
    await operator.sql(`SELECT m2m.suspend_terminal($1, 'stolen')`, [terminal.serial]);
    const socket = await RawTerminal.open(one);
    expect((await socket.ask(login(terminal, { sequence: 2 }))).result).toBe(RESULT.SUSPENDED);
    socket.close();
  });

  test('what does not end a session leaves it: least_login, contact', async () => {
    const terminal = await operator.provision();
    const { socket } = await loggedIn(one, terminal, 1, SUITE.MD5);
    await operator.sql(`SELECT m2m.set_least_login($1, 'hmac')`, [terminal.serial]);
    await operator.sql(`SELECT m2m.set_contact($1, '+8613800000000', 'pump 7')`, [terminal.serial]);
    const renew = sessionKey(terminal, { sequence: 2, suite: SUITE.MD5 });
    expect((await socket.ask(renew)).result).toBe(RESULT.OK);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect((await socket.ask(heartbeat(terminal, { sequence: 3, suite: SUITE.MD5 }))).result).toBe(RESULT.OK);
    expect(
      (await (await RawTerminal.open(one)).ask(login(terminal, { sequence: 4, suite: SUITE.MD5 }))).result,
    ).toBe(RESULT.AUTH_FAILED);
    socket.close();
  });

  test('an operator who holds a row in an open transaction delays that terminal only', async () => {
    const [held, free] = [await operator.provision(), await operator.provision()];
    await operator.sql('BEGIN');
    await operator.sql(`SELECT m2m.set_contact($1, NULL, 'being edited')`, [held.serial]);
    const [blocked, other] = await Promise.all([RawTerminal.open(one), RawTerminal.open(one)]);
    const waiting = blocked.askOnce(login(held));
    expect((await other.ask(login(free))).result).toBe(RESULT.OK);
    expect((await waiting).result).toBe(RESULT.BUSY);
    await operator.sql('COMMIT');
    expect((await blocked.ask(login(held, { sequence: 2 }))).result).toBe(RESULT.OK);
    blocked.close();
    other.close();
  });

  test('plain secrets are usable at once and sealed within a second', async () => {
    const terminal = await operator.provision();
    (await loggedIn(one, terminal)).socket.close();
    const stored = () =>
      operator.sql<{ plain: boolean; uplink_password: Buffer }>(
        `SELECT c.plain, c.uplink_password FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id
         WHERE t.serial = $1`,
        [terminal.serial],
      );
    await eventually('sealed secrets', async () => !(await stored())[0]!.plain);
    expect((await stored())[0]!.uplink_password.includes(terminal.uplinkPassword)).toBe(false);
    const { socket } = await loggedIn(two, terminal, 2);
    socket.close();
  });
});

test('a session whose connection is lost stands, and is shown as not connected', async () => {
  const terminal = await operator.provision();
  const { socket } = await loggedIn(one, terminal);
  socket.close();
  const shown = () =>
    operator.sql('SELECT connected FROM m2m.live_session WHERE serial = $1', [terminal.serial]);
  await eventually('a session without a connection', async () => (await shown())[0]?.['connected'] === false);
});
