/** Changes of passwords and base keys against real gateways: every answer, both ways in, and a platform that is killed. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import { Operator } from '../support/operator';
import {
  COMMAND,
  credentialChange,
  credentialConfirm,
  downlinkFlaw,
  heartbeat,
  login,
  loginForKey,
  noticeAnswer,
  RESULT,
  sessionKey,
  SUITE,
  TAG,
  unwrap,
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';

const UPLINK = 1;
const DOWNLINK = 2;
const BASE_KEY = 4;
const ALL = UPLINK | DOWNLINK | BASE_KEY;
const CIPHERTEXT = 1;

let deployment: Deployment;
let one: GatewayProcess;
let two: GatewayProcess;
let operator: Operator;

const start = (name: string) => deployment.start({ M2M_GATEWAY_ID: name });

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  [one, two] = await Promise.all([start('one'), start('two')]);
});

afterAll(() => deployment?.close());

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

let sequence = 0;
const next = () => (sequence += 1);

async function dial(gateway = one): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(gateway);
  open.push(terminal);
  return terminal;
}

async function loggedIn(terminal: Terminal, suite: number = SUITE.HMAC, gateway = one): Promise<RawTerminal> {
  const socket = await dial(gateway);
  expect((await socket.ask(login(terminal, { suite, sequence: next() }))).result).toBe(RESULT.OK);
  return socket;
}

/** The terminal as it is with the values that a response brought. */
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

const idOf = (answer: Parsed): number => answer.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0);

/** Asks for new values as ciphertext. */
async function asked(socket: RawTerminal, terminal: Terminal, targets: number, suite: number = SUITE.HMAC) {
  await sealed(operator, terminal);
  const frame = credentialChange(targets)(terminal, { suite, sequence: next(), keyProof: true });
  const answer = await socket.ask(frame);
  expect(answer.result).toBe(RESULT.OK);
  expect(downlinkFlaw(answer, terminal, frame)).toBeUndefined();
  return { answer, id: idOf(answer), changed: withValues(terminal, answer) };
}

async function tryLogin(terminal: Terminal, gateway = one): Promise<number> {
  return (await (await dial(gateway)).ask(login(terminal, { sequence: next() }))).result;
}

async function pendingChange({ serial }: Terminal): Promise<unknown> {
  const [row] = await operator.sql<{ pending_change: unknown }>(
    'SELECT pending_change FROM m2m.terminal_status WHERE serial = $1',
    [serial],
  );
  return row?.pending_change;
}

describe.each([
  ['suite 1, 16-byte base key', SUITE.MD5, 16],
  ['suite 2, 32-byte base key', SUITE.HMAC, 32],
])('%s', (_name, suite, baseKeySize) => {
  test('all three change, started on one gateway and confirmed on the other', async () => {
    const terminal = await operator.provision({ baseKeySize });
    const { id, changed } = await asked(await loggedIn(terminal, suite), terminal, ALL, suite);
    expect(changed.baseKey).toHaveLength(baseKeySize);
    expect(await pendingChange(terminal)).toBe('pending: uplink, downlink, base_key');
    const socket = await loggedIn(terminal, suite, two);
    const frame = credentialConfirm(id)(changed, { suite, sequence: next(), keyProof: true });
    const answer = await socket.ask(frame);
    expect(answer.result).toBe(RESULT.OK);
    expect(downlinkFlaw(answer, changed, frame)).toBeUndefined();
    expect(idOf(answer)).toBe(id);
    const beat = heartbeat(changed, { suite, sequence: next() });
    expect(downlinkFlaw(await socket.ask(beat), changed, beat)).toBeUndefined();
    expect(await pendingChange(terminal)).toBeNull();
    for (const gateway of [one, two]) {
      expect(await tryLogin(terminal, gateway)).toBe(RESULT.AUTH_FAILED);
      expect(await tryLogin(changed, gateway)).toBe(RESULT.OK);
    }
    const key = await (await dial(two)).ask(loginForKey(changed, { suite, sequence: next() }));
    expect(unwrap(changed.baseKey, key.tlvs.get(TAG.SESSION_KEY)!)).toHaveLength(baseKeySize);
  });
});

describe('before it is confirmed', () => {
  test('both stand; a login under the new password settles both passwords and leaves the key pending', async () => {
    const terminal = await operator.provision();
    const { changed, id } = await asked(await loggedIn(terminal), terminal, ALL);
    expect(await tryLogin(terminal, two)).toBe(RESULT.OK);
    const socket = await dial(two);
    const frame = login(changed, { sequence: next() });
    expect(downlinkFlaw(await socket.ask(frame), changed, frame)).toBeUndefined();
    expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
    expect(await pendingChange(terminal)).toBe('pending: base_key');
    const mixed = { ...changed, baseKey: terminal.baseKey };
    const last = await dial();
    expect((await last.ask(loginForKey(mixed, { sequence: next() }))).result).toBe(RESULT.OK);
    expect(await pendingChange(terminal)).toBe('pending: base_key');
    const confirmed = credentialConfirm(id)(changed, { sequence: next(), keyProof: true });
    expect((await last.ask(confirmed)).result).toBe(RESULT.OK);
    const old = await last.ask(sessionKey(mixed, { sequence: next() }));
    expect(old.result).toBe(RESULT.BASE_KEY_MISMATCH);
  });

  test('a session key asked for under the pending base key comes under it, and settles it', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const { changed } = await asked(socket, terminal, BASE_KEY);
    const answer = await socket.ask(sessionKey(changed, { sequence: next() }));
    expect(unwrap(changed.baseKey, answer.tlvs.get(TAG.SESSION_KEY)!)).toHaveLength(16);
    expect(await pendingChange(terminal)).toBeNull();
    expect((await socket.ask(sessionKey(terminal, { sequence: next() }))).result).toBe(
      RESULT.BASE_KEY_MISMATCH,
    );
  });

  test('asked for again: the same values and id; other targets: a new change, and the old one is void', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const first = await asked(socket, terminal, UPLINK);
    const again = await asked(socket, terminal, UPLINK);
    expect(again.id).toBe(first.id);
    expect(again.changed).toEqual(first.changed);
    const other = await asked(socket, terminal, DOWNLINK);
    expect(other.id).not.toBe(first.id);
    const late = credentialConfirm(first.id)(terminal, { sequence: next() });
    expect((await socket.ask(late)).result).toBe(RESULT.CHANGE_REFUSED);
    expect(await tryLogin(first.changed)).toBe(RESULT.AUTH_FAILED);
  });

  test.each([
    ['another id', 1, (id: number) => id + 1, {}, RESULT.CHANGE_REFUSED],
    ['under the old uplink password', 0, (id: number) => id, {}, RESULT.CHANGE_REFUSED],
    ['without the new base key', 1, (id: number) => id, { keyProof: false }, RESULT.BASE_KEY_MISMATCH],
  ])('confirmed with %s: refused, signed under the current password, nothing changes', async (...told) => {
    const [, isNew, which, options, result] = told;
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const { id, changed } = await asked(socket, terminal, ALL);
    const sender = isNew ? changed : { ...terminal, baseKey: changed.baseKey };
    const frame = credentialConfirm(which(id))(sender, { sequence: next(), keyProof: true, ...options });
    const answer = await socket.ask(frame);
    // What is not confirmed under the new password is, of an unknown id, as good as any other frame under it.
    expect(answer.result).toBe(result);
    expect(downlinkFlaw(answer, terminal, frame)).toBeUndefined();
    expect(await pendingChange(terminal)).toBe('pending: uplink, downlink, base_key');
  });

  test('confirmed with the old base key shown: BASE_KEY_MISMATCH', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const { id, changed } = await asked(socket, terminal, ALL);
    const frame = credentialConfirm(id)(changed, { sequence: next(), keyProof: terminal.baseKey });
    expect((await socket.ask(frame)).result).toBe(RESULT.BASE_KEY_MISMATCH);
  });

  test('confirmed twice: OK again, and the same frame again is a replay', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const { id, changed } = await asked(socket, terminal, UPLINK | DOWNLINK);
    const frame = credentialConfirm(id)(changed, { sequence: next() });
    expect((await socket.ask(frame)).result).toBe(RESULT.OK);
    const again = credentialConfirm(id)(changed, { sequence: next() });
    expect(downlinkFlaw(await socket.ask(again), changed, again)).toBeUndefined();
    expect((await socket.ask(again)).result).toBe(RESULT.REPLAY);
  });
});

describe('refused', () => {
  test.each([
    ['no base key and no phone number', null, undefined, UPLINK],
    ['a new base key where there is none', null, undefined, BASE_KEY],
    ['ciphertext without the key shown', 16, CIPHERTEXT, UPLINK],
    ['SMS without a phone number', 16, 2, UPLINK],
    ['plain SMS, which is off', 16, 3, UPLINK],
  ])('%s: CHANGE_REFUSED', async (_name, baseKeySize, delivery, targets) => {
    const terminal = await operator.provision({ baseKeySize });
    const socket = await loggedIn(terminal);
    const frame = credentialChange(targets, delivery)(terminal, { sequence: next() });
    const answer = await socket.ask(frame);
    expect(answer.result).toBe(RESULT.CHANGE_REFUSED);
    expect(downlinkFlaw(answer, terminal, frame)).toBeUndefined();
    expect(await pendingChange(terminal)).toBeNull();
  });
});

describe("the platform's wish", () => {
  const wish = (serial: string, targets: string) =>
    operator.sql('SELECT m2m.request_credential_change($1, $2)', [serial, targets]);

  test('reaches a terminal on line as a notice, on whichever gateway, and is answered', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal, SUITE.MD5, two);
    await wish(terminal.serial, '{uplink,base_key}');
    const notice = await socket.next();
    expect(notice.command).toBe(COMMAND.CREDENTIAL_NOTICE);
    expect(notice.tlvs.get(TAG.CHANGE_TARGETS)).toEqual(Buffer.of(UPLINK | BASE_KEY));
    expect(downlinkFlaw(notice, terminal)).toBeUndefined();
    socket.send(noticeAnswer(notice)(terminal));
    await two.logged(
      (line) => line['event.action'] === 'credential-notice' && /heard/.test(String(line['message'])),
    );
    expect(await pendingChange(terminal)).toBe('wished: uplink, base_key');
    const { id, changed } = await asked(socket, terminal, UPLINK | BASE_KEY, SUITE.MD5);
    const confirm = credentialConfirm(id)(changed, { suite: SUITE.MD5, sequence: next(), keyProof: true });
    expect((await socket.ask(confirm)).result).toBe(RESULT.OK);
    expect(await pendingChange(terminal)).toBeNull();
  });

  test('reaches an absent one in its next login, until it is settled', async () => {
    const terminal = await operator.provision();
    await wish(terminal.serial, '{downlink}');
    const socket = await dial();
    const answer = await socket.ask(login(terminal, { sequence: next() }));
    expect(answer.tlvs.get(TAG.CHANGE_TARGETS)).toEqual(Buffer.of(DOWNLINK));
    const { id, changed } = await asked(socket, terminal, DOWNLINK);
    expect((await socket.ask(credentialConfirm(id)(changed, { sequence: next() }))).result).toBe(RESULT.OK);
    const after = await (await dial(two)).ask(login(changed, { sequence: next() }));
    expect(after.tlvs.has(TAG.CHANGE_TARGETS)).toBe(false);
  });

  test('is taken back, and a pending change with it; the session stands', async () => {
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal);
    const { id, changed } = await asked(socket, terminal, UPLINK);
    await operator.sql('SELECT m2m.cancel_credential_change($1)', [terminal.serial]);
    const confirm = credentialConfirm(id)(changed, { sequence: next() });
    expect((await socket.ask(confirm)).result).toBeOneOf([RESULT.AUTH_FAILED, RESULT.CHANGE_REFUSED]);
    expect((await socket.ask(heartbeat(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
    expect(await tryLogin(changed, two)).toBe(RESULT.AUTH_FAILED);
  });

  test('set_credentials voids a pending change', async () => {
    const terminal = await operator.provision();
    const { changed } = await asked(await loggedIn(terminal), terminal, UPLINK);
    await operator.sql('SELECT m2m.set_credentials($1, $2)', [terminal.serial, 'set by hand']);
    expect(await pendingChange(terminal)).toBeNull();
    expect(await tryLogin(changed)).toBe(RESULT.AUTH_FAILED);
    expect(await tryLogin({ ...terminal, uplinkPassword: Buffer.from('set by hand') })).toBe(RESULT.OK);
  });
});

describe('the gateway is killed', () => {
  test.each(['right after the request left', 'after the answer'])(
    '%s: what was answered holds, nobody is out',
    async (when) => {
      const third = await start('third');
      const terminal = await operator.provision();
      const socket = await loggedIn(terminal, SUITE.HMAC, third);
      const frame = credentialChange(ALL)(terminal, { sequence: next(), keyProof: true });
      socket.send(frame);
      const answer = when === 'after the answer' ? await socket.next() : undefined;
      await third.kill();
      if (answer === undefined) return expect(await tryLogin(terminal)).toBe(RESULT.OK);
      const changed = withValues(terminal, answer);
      expect(await tryLogin(terminal)).toBe(RESULT.OK);
      expect(await tryLogin(changed, two)).toBe(RESULT.OK);
      return expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
    },
  );

  test('while somebody holds its row: whatever came of it, nobody is out', async () => {
    const third = await start('third');
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal, SUITE.HMAC, third);
    const other = await Operator.connect(deployment.database.url);
    await other.sql('BEGIN');
    await other.sql(
      'SELECT FROM m2m.credential c JOIN m2m.terminal t ON t.id = c.terminal_id WHERE serial = $1 FOR UPDATE OF c',
      [terminal.serial],
    );
    socket.send(credentialChange(ALL)(terminal, { sequence: next(), keyProof: true }));
    await third.kill();
    await other.sql('ROLLBACK');
    await other.close();
    expect(await tryLogin(terminal)).toBe(RESULT.OK);
  });

  test('as soon as the database has the confirmation, answered or not: it holds', async () => {
    const third = await start('third');
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal, SUITE.HMAC, third);
    const { id, changed } = await asked(socket, terminal, ALL);
    socket.send(credentialConfirm(id)(changed, { sequence: next(), keyProof: true }));
    await eventually('the confirmation', async () => (await pendingChange(terminal)) === null);
    await third.kill();
    expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
    const again = await loggedIn(changed, SUITE.HMAC, two);
    const confirmed = credentialConfirm(id)(changed, { sequence: next(), keyProof: true });
    expect((await again.ask(confirmed)).result).toBe(RESULT.OK);
  });

  test('right after the confirmation left: one of both is in, and only one', async () => {
    const third = await start('third');
    const terminal = await operator.provision();
    const socket = await loggedIn(terminal, SUITE.HMAC, third);
    const { id, changed } = await asked(socket, terminal, UPLINK | DOWNLINK);
    socket.send(credentialConfirm(id)(changed, { sequence: next() }));
    await third.kill();
    expect(await tryLogin(changed)).toBe(RESULT.OK);
    expect(await tryLogin(terminal, two)).toBe(RESULT.AUTH_FAILED);
  });
});

test('m2m.explain knows a terminal that went back to what a change has replaced', async () => {
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  const { changed } = await asked(await loggedIn(terminal), terminal, UPLINK);
  expect(await tryLogin(changed)).toBe(RESULT.OK);
  expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
  const told = () =>
    operator.sql(`SELECT FROM m2m.explain($1) WHERE reason LIKE 'replaced-password:%'`, [terminal.serial]);
  await eventually('an explanation', async () => (await told()).length > 0);
});

test('nothing of a secret, new or old, is in the tables or the logs', async () => {
  const terminal = await operator.provision();
  const socket = await loggedIn(terminal);
  const { changed, answer } = await asked(socket, terminal, ALL);
  const dump = JSON.stringify(
    await operator.sql(
      `SELECT to_jsonb(c) FROM m2m.credential AS c UNION ALL SELECT to_jsonb(a) FROM m2m.audit_log AS a`,
    ),
  );
  const logs = JSON.stringify([...one.log, ...two.log]);
  for (const secret of [changed.uplinkPassword, changed.downlinkPassword, changed.baseKey]) {
    for (const text of [secret.toString('hex'), secret.toString('base64'), secret.toString('base64url')]) {
      expect(dump).not.toContain(text);
      expect(logs).not.toContain(text);
    }
  }
  expect(logs).not.toContain(answer.tlvs.get(TAG.NEW_BASE_KEY)!.toString('hex'));
});
