/** A terminal's day against the real process: login, key, heartbeats, logout, and every result it can be given. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import {
  baseKeyDigest,
  COMMAND,
  downlinkFlaw,
  heartbeat,
  login,
  loginForKey,
  logout,
  now,
  RESPONSE,
  RESULT,
  sessionKey,
  SUITE,
  TAG,
  unwrap,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
});

afterAll(() => deployment?.close());

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

async function dial(localAddress?: string): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(gateway, localAddress);
  open.push(terminal);
  return terminal;
}

async function loggedIn(terminal: Terminal, suite: number = SUITE.HMAC): Promise<RawTerminal> {
  const socket = await dial();
  const answer = await socket.ask(login(terminal, { suite, sequence: 1 }));
  expect(answer.result).toBe(RESULT.OK);
  return socket;
}

describe.each([
  ['suite 1, 128-bit base key', SUITE.MD5, 16],
  ['suite 1, 256-bit base key', SUITE.MD5, 32],
  ['suite 2, 128-bit base key', SUITE.HMAC, 16],
  ['suite 2, 256-bit base key', SUITE.HMAC, 32],
])('a day, %s', (_name, suite, baseKeySize) => {
  test('login with key, heartbeat, new key, logout', async () => {
    const terminal = await operator.provision({ baseKeySize });
    const socket = await dial();

    const asked = loginForKey(terminal, { suite, sequence: 7, claim: true });
    const answer = await socket.ask(asked);
    expect(answer).toMatchObject({
      result: RESULT.OK,
      command: RESPONSE | COMMAND.LOGIN,
      sequence: 7,
      suite,
    });
    expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
    expect([...answer.tlvs.keys()]).toEqual([
      TAG.TIMESTAMP,
      TAG.REQUEST_DIGEST,
      TAG.SESSION_ID,
      TAG.SESSION_TTL,
      TAG.HEARTBEAT_INTERVAL,
      TAG.SESSION_KEY,
    ]);
    const key = unwrap(terminal.baseKey, answer.tlvs.get(TAG.SESSION_KEY)!);
    expect(key).toHaveLength(baseKeySize);

    const beat = heartbeat(terminal, { suite, sequence: 8, implicit: true });
    const beaten = await socket.ask(beat);
    expect(beaten.result).toBe(RESULT.OK);
    expect(downlinkFlaw(beaten, terminal, beat)).toBeUndefined();

    const wish = sessionKey(terminal, { suite, sequence: 9 });
    const renewed = await socket.ask(wish);
    expect(renewed.result).toBe(RESULT.OK);
    expect(downlinkFlaw(renewed, terminal, wish)).toBeUndefined();
    expect(renewed.tlvs.get(TAG.SESSION_ID)).toEqual(answer.tlvs.get(TAG.SESSION_ID));
    const newKey = unwrap(terminal.baseKey, renewed.tlvs.get(TAG.SESSION_KEY)!);
    expect(newKey).toHaveLength(baseKeySize);
    expect(newKey).not.toEqual(key);

    const live = await eventually('a connected session', async () => {
      const text = 'SELECT * FROM m2m.live_session WHERE serial = $1 AND connected';
      return (await operator.sql(text, [terminal.serial]))[0];
    });
    expect(live).toMatchObject({
      session_id: answer.tlvs.get(TAG.SESSION_ID)!.toString('hex'),
      connected: true,
      address: '127.0.0.1',
    });

    const bye = logout(terminal, { suite, sequence: 10 });
    const gone = await socket.ask(bye);
    expect(gone.result).toBe(RESULT.OK);
    expect(downlinkFlaw(gone, terminal, bye)).toBeUndefined();
    await socket.end();
    expect(await operator.sql('SELECT FROM m2m.live_session WHERE serial = $1', [terminal.serial])).toEqual(
      [],
    );
  });
});

describe('refusals of a login', () => {
  test('unknown serial and wrong digest: the same bytes, not before the delay', async () => {
    const terminal = await operator.provision();
    const wrong = login(terminal, { sequence: 5, password: Buffer.from('something else') });
    const socket = await dial();
    const started = Date.now();
    const answer = await socket.ask(wrong);
    expect(Date.now() - started).toBeGreaterThanOrEqual(49);
    expect(answer).toMatchObject({
      result: RESULT.AUTH_FAILED,
      length: 28,
      suite: 0,
      sequence: 5,
      version: 0x0400,
    });

    await operator.sql('SELECT m2m.retire_terminal($1)', [terminal.serial]);
    const stranger = { ...terminal, serial: `X${terminal.serial.slice(1)}` };
    const unknown = await socket.ask(login(stranger, { sequence: 5 }));
    expect({ ...unknown, serial: '', covered: unknown.covered.subarray(0, 12) }).toEqual({
      ...answer,
      serial: '',
      covered: answer.covered.subarray(0, 12),
    });
    expect(socket.closed).toBe(false);
    expect(await gateway.logged((line) => line['device.id'] === stranger.serial)).toMatchObject({
      'event.action': 'terminal-login',
      'event.outcome': 'failure',
      'event.reason': 'auth-failed',
      'm2m.detail': 'unknown-serial',
    });
  });

  test('a weaker login than the record allows is AUTH_FAILED', async () => {
    const terminal = await operator.provision({ leastLogin: 'hmac' });
    const socket = await dial();
    expect((await socket.ask(login(terminal, { suite: SUITE.MD5 }))).result).toBe(RESULT.AUTH_FAILED);
    expect((await socket.ask(login(terminal, { suite: SUITE.HMAC }))).result).toBe(RESULT.OK);
  });

  test('the SIM of another terminal: BINDING_MISMATCH, signed under what was claimed', async () => {
    const terminal = await operator.provision();
    const other = await operator.provision();
    const socket = await dial();
    const asked = login(terminal, { claim: { imei: terminal.imei, imsi: other.imsi } });
    const answer = await socket.ask(asked);
    expect(answer.result).toBe(RESULT.BINDING_MISMATCH);
    expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
    const line = await gateway.logged(
      (one) => one['device.id'] === terminal.serial && one['m2m.detail'] !== undefined,
    );
    expect(line).toMatchObject({ 'event.reason': 'binding-mismatch', 'm2m.detail': 'other-imsi' });
  });

  test('suspended and retired: SUSPENDED, signed; resumed: in again', async () => {
    const terminal = await operator.provision();
    await operator.sql(`SELECT m2m.suspend_terminal($1, 'unpaid')`, [terminal.serial]);
    const socket = await dial();
    const asked = login(terminal, { sequence: 1 });
    const answer = await socket.ask(asked);
    expect(answer.result).toBe(RESULT.SUSPENDED);
    expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
    await operator.sql('SELECT m2m.resume_terminal($1)', [terminal.serial]);
    expect((await socket.ask(login(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
    await operator.sql('SELECT m2m.retire_terminal($1)', [terminal.serial]);
    expect((await (await dial()).ask(login(terminal, { sequence: 3 }))).result).toBe(RESULT.SUSPENDED);
  });

  test('a clock that is off: CLOCK_SKEW tells the time; just inside the window is taken', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    for (const off of [-400, 400]) {
      const asked = login(terminal, { at: now() + off, sequence: 1 });
      const before = now();
      const answer = await socket.ask(asked);
      expect(answer.result).toBe(RESULT.CLOCK_SKEW);
      expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
      const told = answer.tlvs.get(TAG.TIMESTAMP)!.readUInt32BE(0);
      expect(told).toBeGreaterThanOrEqual(before);
      expect(told).toBeLessThanOrEqual(now());
    }
    for (const off of [-200, 290]) {
      expect((await socket.ask(login(terminal, { at: now() + off }))).result).toBe(RESULT.OK);
    }
  });

  test.each([-60, 0, 60])('an implicit timestamp of the step %d s away is taken', async (step) => {
    const terminal = await operator.provision();
    let minute: number, result: number;
    do {
      minute = Math.floor(now() / 60);
      const frame = login(terminal, { implicit: true, at: now() + step });
      result = (await (await dial()).ask(frame)).result;
      // Where the minute has changed meanwhile, it was another step.
    } while (result !== RESULT.OK && Math.floor(now() / 60) !== minute);
    expect(result).toBe(RESULT.OK);
  });

  test('an implicit timestamp two steps away is AUTH_FAILED', async () => {
    const terminal = await operator.provision();
    const answer = await (await dial()).ask(login(terminal, { implicit: true, at: now() - 180 }));
    expect(answer.result).toBe(RESULT.AUTH_FAILED);
  });

  test('a wrong base key proof: BASE_KEY_MISMATCH, and no session', async () => {
    const terminal = await operator.provision();
    const asked = loginForKey(terminal, { keyProof: Buffer.alloc(16, 1) });
    const answer = await (await dial()).ask(asked);
    expect(answer.result).toBe(RESULT.BASE_KEY_MISMATCH);
    expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
    expect(await operator.sql('SELECT FROM m2m.live_session WHERE serial = $1', [terminal.serial])).toEqual(
      [],
    );
  });

  test.each([null, 24])(
    'no base key that this protocol can use (%p): BASE_KEY_MISMATCH',
    async (baseKeySize) => {
      const terminal = await operator.provision({ baseKeySize });
      expect((await (await dial()).ask(loginForKey(terminal))).result).toBe(RESULT.BASE_KEY_MISMATCH);
      expect((await (await dial()).ask(login(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
    },
  );

  test('more than 64 logins of one terminal in its window: THROTTLED, with a time', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    for (let i = 1; i <= 64; i++)
      expect((await socket.ask(login(terminal, { sequence: i }))).result).toBe(RESULT.OK);
    const answer = await socket.ask(login(terminal, { sequence: 65 }));
    expect(answer.result).toBe(RESULT.THROTTLED);
    expect(answer.tlvs.get(TAG.RETRY_AFTER)!.readUInt32BE(0)).toBeGreaterThan(1000);
  });

  test('failed attempts are THROTTLED by serial and address; the terminal itself, elsewhere, is not', async () => {
    const terminal = await operator.provision();
    const attacker = await dial('127.0.0.2');
    const results: number[] = [];
    // The pauses begin with one second and double: a slow machine comes after the first ones, not after all.
    while (results.at(-1) !== RESULT.THROTTLED && results.length < 18) {
      const guess = login(terminal, { sequence: results.length, password: Buffer.from('guess') });
      results.push((await attacker.ask(guess)).result);
    }
    expect(results.length).toBeGreaterThan(10);
    expect(results.slice(0, -1).every((result) => result === RESULT.AUTH_FAILED)).toBe(true);
    expect(results.at(-1)).toBe(RESULT.THROTTLED);
    expect((await (await dial('127.0.0.3')).ask(login(terminal))).result).toBe(RESULT.OK);
  });
});

describe('in a session', () => {
  test('wrong digest, other suite: AUTH_FAILED; the session stands', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const wrong = heartbeat(terminal, { sequence: 2, password: Buffer.from('x') });
    expect((await socket.ask(wrong)).result).toBe(RESULT.AUTH_FAILED);
    expect((await socket.ask(heartbeat(terminal, { sequence: 3, suite: SUITE.MD5 }))).result).toBe(
      RESULT.AUTH_FAILED,
    );
    expect((await socket.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
  });

  test('a sequence that does not rise is REPLAY, by RFC 1982', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    await socket.ask(login(terminal, { sequence: 0xfffffffe }));
    const results: number[] = [];
    for (const sequence of [0xfffffffe, 0xffffffff, 3, 2, 0x80000003, 0x80000002]) {
      results.push((await socket.ask(heartbeat(terminal, { sequence }))).result);
    }
    const { REPLAY, OK } = RESULT;
    expect(results).toEqual([REPLAY, OK, OK, REPLAY, REPLAY, OK]);
  });

  test('CLOCK_SKEW and BASE_KEY_MISMATCH of later requests', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const late = heartbeat(terminal, { sequence: 2, at: now() - 1000 });
    const skewed = await socket.ask(late);
    expect(skewed.result).toBe(RESULT.CLOCK_SKEW);
    expect(downlinkFlaw(skewed, terminal, late)).toBeUndefined();
    const answer = await socket.ask(sessionKey(terminal, { sequence: 3, keyProof: Buffer.alloc(16) }));
    expect(answer.result).toBe(RESULT.BASE_KEY_MISMATCH);
  });

  test('a frame of another serial ends the connection as MALFORMED', async () => {
    const [terminal, other] = [await operator.provision(), await operator.provision()];
    const socket = await loggedIn(terminal);
    expect((await socket.ask(login(other, { sequence: 2 }))).result).toBe(RESULT.MALFORMED);
    await socket.end();
  });

  test('an answer that nobody asked for is dropped', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const uncalled = heartbeat(terminal, {
      sequence: 9,
      tlvs: [[TAG.REQUEST_DIGEST, Buffer.alloc(32)]],
      frame: { command: RESPONSE | COMMAND.CREDENTIAL_NOTICE },
    });
    socket.send(uncalled, heartbeat(terminal, { sequence: 10 }));
    expect(await socket.next()).toMatchObject({ sequence: 10, result: RESULT.OK });
  });

  test('pipelined behind a login that is being committed: answered in order', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    const frames = [loginForKey(terminal, { sequence: 1 })];
    for (let sequence = 2; sequence < 60; sequence++) frames.push(heartbeat(terminal, { sequence }));
    frames.push(sessionKey(terminal, { sequence: 60 }), logout(terminal, { sequence: 61 }));
    socket.send(...frames);
    for (let sequence = 1; sequence <= 61; sequence++) {
      expect(await socket.next()).toMatchObject({ sequence, result: RESULT.OK });
    }
    await socket.end();
  });

  test('a login on the same connection replaces the session silently', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const again = await socket.ask(login(terminal, { sequence: 1000 }));
    expect(again.result).toBe(RESULT.OK);
    expect((await socket.ask(heartbeat(terminal, { sequence: 999 }))).result).toBe(RESULT.REPLAY);
    expect((await socket.ask(heartbeat(terminal, { sequence: 1001 }))).result).toBe(RESULT.OK);
  });

  test('a terminal that sends FIN behind its login still gets the answer', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    socket.socket.end(login(terminal));
    expect((await socket.next()).result).toBe(RESULT.OK);
    await socket.end();
  });
});

test('what the log and the status view tell, and what they do not', async () => {
  const terminal = await operator.provision();
  const socket = await dial();
  await socket.ask(
    loginForKey(terminal, { sequence: 1, claim: true, tlvs: [[TAG.FIRMWARE, Buffer.from('fw 2.1')]] }),
  );
  const line = await gateway.logged(
    (one) => one['device.id'] === terminal.serial && one['event.outcome'] === 'success',
  );
  expect(line).toMatchObject({
    'event.action': 'terminal-login',
    'source.ip': '127.0.0.1',
    'm2m.version': '4.0',
    'm2m.command': 'LOGIN',
    'm2m.sequence': 1,
    'm2m.firmware': 'fw 2.1',
  });
  expect(line['event.duration']).toEqual(expect.any(Number));
  const everything = JSON.stringify(gateway.log) + gateway.stderr();
  for (const secret of [terminal.uplinkPassword, terminal.downlinkPassword, terminal.baseKey]) {
    expect(everything).not.toContain(secret.toString('hex'));
    expect(everything).not.toContain(secret.toString('base64'));
  }
  expect(everything).not.toContain(
    baseKeyDigest(SUITE.HMAC, terminal.serial, now(), terminal.baseKey).toString('hex'),
  );
  expect(everything).not.toContain(terminal.imei);
  expect(everything).not.toContain(terminal.imsi);
});
