/** What each page allows by itself, together: changes during two-way logins, suites and dialects mixed, frames in one segment. */
import { randomBytes } from 'node:crypto';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import { mintPacket, packetKeyOf, proof, readChallenge, thirdCode } from '../support/mutualOracle';
import type { Operator } from '../support/operator';
import {
  authChallenge,
  COMMAND,
  credentialChange,
  credentialConfirm,
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
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { eventually } from '../support/eventually';
import { askByText, provisionSealedPhone, readText, sealed } from '../support/texts';

const UPLINK = 1;
const DOWNLINK = 2;
const BASE_KEY = 4;
const ALL = UPLINK | DOWNLINK | BASE_KEY;
const { MD5, HMAC } = SUITE;
const HARDWARE = Buffer.from('chip-0001');

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

let sequence = 0;
const next = () => (sequence += 1);

async function dial(): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(gateway);
  open.push(terminal);
  return terminal;
}

async function provisioned(): Promise<Terminal> {
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  return terminal;
}

async function loggedIn(terminal: Terminal, suite: number = HMAC): Promise<RawTerminal> {
  const socket = await dial();
  expect((await socket.ask(login(terminal, { suite, sequence: next() }))).result).toBe(RESULT.OK);
  return socket;
}

/** Asks for new values as ciphertext: the terminal as it is with them, and the change's id. */
async function renewed(socket: RawTerminal, terminal: Terminal, targets: number, suite: number = HMAC) {
  const frame = credentialChange(targets)(terminal, { suite, sequence: next(), keyProof: true });
  const answer = await socket.ask(frame);
  expect([answer.result, downlinkFlaw(answer, terminal, frame)]).toEqual([RESULT.OK, undefined]);
  return { ...withValues(terminal, answer), id: answer.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0) };
}

function withValues(terminal: Terminal, answer: Parsed): Terminal {
  const value = (tag: number, old: Buffer) =>
    answer.tlvs.has(tag) ? unwrap(terminal.baseKey, answer.tlvs.get(tag)!)! : old;
  return {
    ...terminal,
    uplinkPassword: value(TAG.NEW_UPLINK_PASSWORD, terminal.uplinkPassword),
    downlinkPassword: value(TAG.NEW_DOWNLINK_PASSWORD, terminal.downlinkPassword),
    baseKey: value(TAG.NEW_BASE_KEY, terminal.baseKey),
  };
}

/** Challenges the gateway; what a proof under this base key is made of, and whether the gateway holds it. */
async function challenged(socket: RawTerminal, terminal: Terminal, nonce = randomBytes(16)) {
  const answer = await socket.ask(authChallenge(nonce)(terminal, { sequence: next() }));
  const { serverNonce, shown, genuine } = readChallenge(terminal, nonce, answer);
  const { id, key } = packetKeyOf(deployment.home.keyFile);
  const { serial, imei, baseKey } = terminal;
  const packet = mintPacket(key, id, { serial, imei, hardwareId: HARDWARE, issuedAt: now() });
  const parts = { hardwareId: HARDWARE, packet, serverNonce, third: thirdCode(baseKey, shown) };
  return { genuine, shows: proof(parts) };
}

async function pendingChange({ serial }: Terminal): Promise<unknown> {
  const [row] = await operator.sql<{ pending_change: unknown }>(
    'SELECT pending_change FROM m2m.terminal_status WHERE serial = $1',
    [serial],
  );
  return row?.pending_change;
}

const tryLogin = async (terminal: Terminal): Promise<number> =>
  (await (await dial()).ask(login(terminal, { sequence: next() }))).result;

/** Sent at once; what they are answered, in the order of the answers. */
async function atOnce(socket: RawTerminal, ...frames: readonly Buffer[]): Promise<Parsed[]> {
  socket.send(...frames);
  const answers: Parsed[] = [];
  while (answers.length < frames.length) answers.push(await socket.next());
  return answers;
}

const resultsOf = (answers: readonly Parsed[]) => answers.map(({ result }) => result);

/** The newest text to a phone, once the gateway has opened it. */
function textTo(phone: string): Promise<string> {
  return eventually('a text', async () => {
    const rows = await operator.sql<{ text: string; msisdn: string }>('SELECT * FROM m2m.take_sms()');
    return rows.find(({ msisdn }) => msisdn === phone)?.text;
  });
}

describe('a change during a two-way login', () => {
  test('all three are pending: challenge under the current key, proof under the new values, which settles them', async () => {
    const terminal = await provisioned();
    const changed = await renewed(await loggedIn(terminal), terminal, ALL);
    const socket = await dial();
    const { genuine, shows } = await challenged(socket, terminal);
    expect(genuine).toBe(true);
    const frame = shows(changed, { sequence: next(), askKey: true, keyProof: true });
    const answer = await socket.ask(frame);
    expect([answer.result, downlinkFlaw(answer, changed, frame)]).toEqual([RESULT.OK, undefined]);
    expect(unwrap(changed.baseKey, answer.tlvs.get(TAG.SESSION_KEY)!)).toHaveLength(16);
    expect(await pendingChange(terminal)).toBeNull();
    expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
    const late = credentialConfirm(changed.id)(changed, { sequence: next(), keyProof: true });
    expect((await socket.ask(late)).result).toBe(RESULT.OK);
    expect((await challenged(socket, changed)).genuine).toBe(true);
  });

  test('the base key is another one when the proof comes: AUTH_FAILED, and the next challenge is under the new one', async () => {
    const terminal = await provisioned();
    const other = await loggedIn(terminal);
    const changed = await renewed(other, terminal, BASE_KEY);
    const socket = await dial();
    const { shows } = await challenged(socket, terminal);
    expect((await other.ask(sessionKey(changed, { sequence: next() }))).result).toBe(RESULT.OK);
    expect((await socket.ask(shows(changed, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
    const again = await challenged(socket, changed);
    expect(again.genuine).toBe(true);
    expect((await socket.ask(again.shows(changed, { sequence: next() }))).result).toBe(RESULT.OK);
  });

  test('suspended between challenge and proof: SUSPENDED, signed', async () => {
    const terminal = await provisioned();
    const socket = await dial();
    const { shows } = await challenged(socket, terminal);
    await operator.sql(`SELECT m2m.suspend_terminal($1, 'lost')`, [terminal.serial]);
    const frame = shows(terminal, { sequence: next() });
    const answer = await socket.ask(frame);
    expect([answer.result, downlinkFlaw(answer, terminal, frame)]).toEqual([RESULT.SUSPENDED, undefined]);
  });

  test('nonces of zeros are nonces', async () => {
    const terminal = await provisioned();
    const socket = await dial();
    const { genuine, shows } = await challenged(socket, terminal, Buffer.alloc(16));
    expect(genuine).toBe(true);
    expect((await socket.ask(shows(terminal, { suite: MD5, sequence: next() }))).result).toBe(RESULT.OK);
  });

  test('by SMS: its values prove nothing but a confirmation, in whatever suite', async () => {
    const { terminal, phone } = await provisionSealedPhone(operator);
    const socket = await loggedIn(terminal, MD5);
    await askByText(socket, terminal, { targets: ALL, sequence: next(), suite: MD5 });
    const { id, changed } = readText(await textTo(phone), terminal, MD5);
    const late = await dial();
    for (const key of [terminal, changed]) {
      const { shows } = await challenged(late, { ...changed, baseKey: key.baseKey });
      expect((await late.ask(shows(changed, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
    }
    const forKey = login(terminal, { sequence: next(), askKey: true, keyProof: changed.baseKey });
    expect((await late.ask(forKey)).result).toBe(RESULT.BASE_KEY_MISMATCH);
    const again = await loggedIn(terminal, HMAC);
    const shown = sessionKey({ ...terminal, baseKey: changed.baseKey }, { sequence: next() });
    expect((await again.ask(shown)).result).toBe(RESULT.BASE_KEY_MISMATCH);
    const leaving = logout(changed, { sequence: next() });
    expect((await again.ask(leaving)).result).toBe(RESULT.AUTH_FAILED);
    const frame = credentialConfirm(id)(changed, { sequence: next(), keyProof: true });
    const answer = await again.ask(frame);
    expect([answer.result, downlinkFlaw(answer, changed, frame)]).toEqual([RESULT.OK, undefined]);
    expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
  });
});

describe('a login under pending values that is refused settles nothing', () => {
  test.each([
    ['another SIM', RESULT.BINDING_MISMATCH, { claim: { imei: '490154203237518', imsi: '001010123456789' } }],
    ['a wrong base key', RESULT.BASE_KEY_MISMATCH, { askKey: true, keyProof: Buffer.alloc(16, 255) }],
    ['a clock at zero', RESULT.CLOCK_SKEW, { at: 0 }],
    ['a clock at its end', RESULT.CLOCK_SKEW, { at: 0xffffffff }],
  ])('%s: %d, signed under the current password', async (_name, result, wrong) => {
    const terminal = await provisioned();
    const changed = await renewed(await loggedIn(terminal), terminal, ALL);
    const socket = await dial();
    const frame = login(changed, { sequence: next(), ...wrong });
    const answer = await socket.ask(frame);
    expect([answer.result, downlinkFlaw(answer, terminal, frame)]).toEqual([result, undefined]);
    expect(await pendingChange(terminal)).toBe('pending: uplink, downlink, base_key');
    expect(await tryLogin(terminal)).toBe(RESULT.OK);
  });

  test('the same frame again, once it has settled them: REPLAY, signed under the new password', async () => {
    const terminal = await provisioned();
    const changed = await renewed(await loggedIn(terminal), terminal, ALL);
    const frame = login(changed, { sequence: next() });
    const socket = await dial();
    expect((await socket.ask(frame)).result).toBe(RESULT.OK);
    const answer = await (await dial()).ask(frame);
    expect([answer.result, downlinkFlaw(answer, changed, frame)]).toEqual([RESULT.REPLAY, undefined]);
    expect((await socket.ask(heartbeat(changed, { sequence: next() }))).result).toBe(RESULT.OK);
  });
});

describe('in one segment', () => {
  test('the same login twice, and on two connections at once: one is taken', async () => {
    const terminal = await provisioned();
    const frame = login(terminal, { sequence: next() });
    const [first, second] = await atOnce(await dial(), frame, frame);
    expect([first!.result, second!.result]).toEqual([RESULT.OK, RESULT.REPLAY]);
    expect(downlinkFlaw(second!, terminal, frame)).toBeUndefined();
    const another = login(terminal, { sequence: next(), implicit: true });
    const sockets = [await dial(), await dial(), await dial()];
    const answers = await Promise.all(sockets.map((socket) => socket.askOnce(another)));
    expect(resultsOf(answers).sort()).toEqual([RESULT.OK, RESULT.REPLAY, RESULT.REPLAY]);
  });

  test('login, key, change, a frame of another suite, logout, and what is behind it', async () => {
    const terminal = await provisioned();
    const socket = await dial();
    const frames = [
      login(terminal, { suite: MD5, sequence: 0xfffffffe }),
      sessionKey(terminal, { suite: MD5, sequence: 0xffffffff }),
      credentialChange(UPLINK)(terminal, { suite: MD5, sequence: 0, keyProof: true }),
      heartbeat(terminal, { suite: HMAC, sequence: 1 }),
      heartbeat(terminal, { suite: MD5, sequence: 1 }),
      heartbeat(terminal, { suite: MD5, sequence: 1 }),
      logout(terminal, { suite: MD5, sequence: 2 }),
    ];
    const beyond = heartbeat(terminal, { suite: MD5, sequence: 3 });
    socket.send(...frames, beyond);
    const { OK, AUTH_FAILED, REPLAY } = RESULT;
    await socket.end();
    expect(resultsOf(socket.received)).toEqual([OK, OK, OK, AUTH_FAILED, OK, REPLAY, OK]);
    expect(socket.received.at(-1)!.command).toBe(COMMAND.LOGOUT | RESPONSE);
  });

  test('two changes: with the same targets one, with others the later', async () => {
    const terminal = await provisioned();
    const socket = await loggedIn(terminal);
    const ask = (targets: number) =>
      credentialChange(targets)(terminal, { sequence: next(), keyProof: true });
    const answers = await atOnce(socket, ask(UPLINK), ask(UPLINK), ask(DOWNLINK | BASE_KEY));
    expect(resultsOf(answers)).toEqual([RESULT.OK, RESULT.OK, RESULT.OK]);
    const [one, same, other] = answers.map((answer) => withValues(terminal, answer));
    expect(same).toEqual(one);
    expect(await tryLogin(one!)).toBe(RESULT.AUTH_FAILED);
    const again = await dial();
    const frame = loginForKey(
      { ...other!, downlinkPassword: terminal.downlinkPassword },
      { sequence: next() },
    );
    // The key is settled; the downlink password is not shown by a login, and waits for its confirmation.
    const answer = await again.ask(frame);
    expect([answer.result, downlinkFlaw(answer, terminal, frame)]).toEqual([RESULT.OK, undefined]);
    expect(await pendingChange(terminal)).toBe('pending: downlink');
    const id = answers[2]!.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0);
    const confirm = credentialConfirm(id)(other!, { sequence: next(), keyProof: true });
    const confirmed = await again.ask(confirm);
    expect([confirmed.result, downlinkFlaw(confirmed, other!, confirm)]).toEqual([RESULT.OK, undefined]);
  });

  test('a login of another terminal behind a login: MALFORMED, and the session stands', async () => {
    const [terminal, other] = [await provisioned(), await provisioned()];
    const socket = await dial();
    const frames = [login(terminal, { sequence: next() }), login(other, { sequence: next() })];
    expect(resultsOf(await atOnce(socket, ...frames))).toEqual([RESULT.OK, RESULT.MALFORMED]);
    await socket.end();
    const rows = await operator.sql<{ serial: string }>(
      'SELECT serial FROM m2m.live_session WHERE serial IN ($1, $2)',
      [terminal.serial, other.serial],
    );
    expect(rows).toEqual([{ serial: terminal.serial }]);
  });

  test('a refused login, then another terminal, which is let in', async () => {
    const [terminal, other] = [await provisioned(), await provisioned()];
    const wrong = login(terminal, { sequence: next(), password: Buffer.from('wrong') });
    const frames = [wrong, login(other, { sequence: next() }), heartbeat(other, { sequence: next() })];
    expect(resultsOf(await atOnce(await dial(), ...frames))).toEqual([
      RESULT.AUTH_FAILED,
      RESULT.OK,
      RESULT.OK,
    ]);
  });
});

test('logins on two connections at once, one with a session: one is left, and has the session', async () => {
  const terminal = await provisioned();
  for (let round = 0; round < 15; round++) {
    const both = [await loggedIn(terminal), await dial()];
    const sockets = round % 2 === 0 ? both : both.reverse();
    const frames = sockets.map(() => login(terminal, { sequence: next() }));
    const answers = await Promise.all(sockets.map((socket, i) => socket.askOnce(frames[i]!)));
    for (const [i, answer] of answers.entries())
      if (answer.result === RESULT.BUSY) expect((await sockets[i]!.ask(frames[i]!)).result).toBe(RESULT.OK);
      else expect(answer.result).toBe(RESULT.OK);
    const left = await eventually('the end of one', async () => {
      const standing = sockets.filter(({ closed }) => !closed);
      return Promise.resolve(standing.length < 2 ? standing : undefined);
    });
    expect(left).toHaveLength(1);
    const frame = sessionKey(terminal, { sequence: next() });
    expect((await left[0]!.ask(frame)).result).toBe(RESULT.OK);
    left[0]!.close();
  }
});

test('a confirmation whose answer is lost, repeated over connections, suites and a newer change', async () => {
  const terminal = await provisioned();
  const socket = await loggedIn(terminal, MD5);
  const changed = await renewed(socket, terminal, ALL, MD5);
  const confirm = (from: Terminal, id: number, suite: number) =>
    credentialConfirm(id)(from, { suite, sequence: next(), keyProof: true });
  socket.send(confirm(changed, changed.id, MD5));
  socket.close();
  const again = await eventually('its settling', async () => {
    const next = await dial();
    const answer = await next.ask(login(changed, { sequence: (sequence += 1) }));
    return answer.result === RESULT.OK ? next : undefined;
  });
  for (let i = 0; i < 2; i++) {
    const frame = confirm(changed, changed.id, HMAC);
    const answer = await again.ask(frame);
    expect([answer.result, downlinkFlaw(answer, changed, frame)]).toEqual([RESULT.OK, undefined]);
  }
  const newer = await renewed(again, changed, UPLINK | DOWNLINK);
  expect((await again.ask(confirm(changed, changed.id, HMAC))).result).toBe(RESULT.OK);
  expect((await again.ask(confirm(newer, newer.id, HMAC))).result).toBe(RESULT.OK);
  // Only the last one is known.
  const frame = confirm(newer, changed.id, HMAC);
  const answer = await again.ask(frame);
  expect([answer.result, downlinkFlaw(answer, newer, frame)]).toEqual([RESULT.CHANGE_REFUSED, undefined]);
  expect((await again.ask(confirm(newer, 0xffffffff, HMAC))).result).toBe(RESULT.CHANGE_REFUSED);
});
