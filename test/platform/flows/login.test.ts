/** The rules of a login as a table: what each refuses, at which edge, and which of two speaks first. */
import { decideLogin, type LoginGrant } from '../../../src/platform/flows/login';
import { LOGINS_KEPT, replayEntry } from '../../../src/platform/flows/replay';
import type {
  Challenge,
  LoginKind,
  PendingChange,
  SessionRow,
  Surroundings,
  TerminalRecord,
} from '../../../src/platform/model';
import { decode, type Message } from '../../../src/protocol/decode';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { decodeWmmp } from '../../../src/protocol/wmmp/decode';
import { firstCode, mintPacket, proof, thirdCode } from '../../support/mutualOracle';
import { newTerminal } from '../../support/operator';
import { login, loginForKey, paddedSerial, unwrap, type RequestOptions } from '../../support/oracle';
import { AROUND, recordOf } from '../../support/rooms';
import { wmmpLogin } from '../../support/wmmpOracle';

const SECONDS = AROUND.now / 1000;
const device = newTerminal();
const other = newTerminal();

function message(bytes: Buffer): Message {
  const found = decode(readHeader(bytes), bytes);
  if (isFault(found)) throw new Error(found.name);
  return found;
}

interface Case {
  readonly bytes: Buffer;
  readonly record?: Partial<TerminalRecord>;
  readonly around?: Partial<Surroundings>;
  readonly logins?: readonly string[];
  readonly challenge?: Challenge | undefined;
}

function decided({ bytes, record, around, logins, challenge }: Case) {
  const row: SessionRow | undefined = logins && {
    sessionId: undefined,
    endReason: undefined,
    logins,
    requests: [],
  };
  const view = { record: recordOf(device, { leastLogin: 'md5', ...record }), row };
  return decideLogin(message(bytes), view, { ...AROUND, ...around }, '192.0.2.9', challenge);
}

function outcome(one: Case): string {
  const decision = decided(one);
  if ('granted' in decision) return 'OK';
  const { result, detail } = decision.refused;
  return `${result} ${detail}`;
}

function granted(one: Case): LoginGrant {
  const decision = decided(one);
  if ('refused' in decision) throw new Error(decision.refused.detail);
  return decision.granted;
}

const at = (seconds: number, more: Partial<RequestOptions> = {}) =>
  login(device, { suite: 1, at: SECONDS + seconds, ...more });
const good = at(0);
const claiming = (imei: string, imsi: string) => at(0, { claim: { imei, imsi } });
const digestOf = (bytes: Buffer) => message(bytes).digest!;
const full = Array.from({ length: LOGINS_KEPT }, (_, n) => replayEntry(SECONDS - n, Buffer.alloc(16, n)));
const forKey = (key: boolean | Buffer) =>
  loginForKey(device, { suite: 1, at: SECONDS, keyProof: key === false ? other.baseKey : key });

test.each<[string, Case, string]>([
  ['in suite 1', { bytes: good }, 'OK'],
  ['in suite 2', { bytes: at(0, { suite: 2 }) }, 'OK'],
  ['its own identity', { bytes: claiming(device.imei, device.imsi) }, 'OK'],
  ['another password', { bytes: at(0, { password: other.uplinkPassword }) }, 'AUTH_FAILED wrong-digest'],
  [
    'the downlink password',
    { bytes: at(0, { password: device.downlinkPassword }) },
    'AUTH_FAILED wrong-digest',
  ],
  ['suspended', { bytes: good, record: { status: 'suspended' } }, 'SUSPENDED suspended'],
  ['retired', { bytes: good, record: { status: 'retired' } }, 'SUSPENDED retired'],
  ['at the end of the window', { bytes: at(300) }, 'OK'],
  ['at its beginning', { bytes: at(-300) }, 'OK'],
  ['above the window', { bytes: at(301) }, 'CLOCK_SKEW clock-ahead-by-301s'],
  ['below the window', { bytes: at(-301) }, 'CLOCK_SKEW clock-behind-by-301s'],
  ['late in its second', { bytes: at(-300), around: { now: AROUND.now + 999 } }, 'OK'],
  [
    'a second later',
    { bytes: at(-300), around: { now: AROUND.now + 1000 } },
    'CLOCK_SKEW clock-behind-by-301s',
  ],
  [
    'a time left out, and a window below its minute',
    { bytes: at(-60, { implicit: true }), around: { timestampWindow: 1 } },
    'OK',
  ],
  ['a wider window', { bytes: at(-301), around: { timestampWindow: 301 } }, 'OK'],
  ['another IMEI', { bytes: claiming(other.imei, device.imsi) }, 'BINDING_MISMATCH other-imei'],
  ['another IMSI', { bytes: claiming(device.imei, other.imsi) }, 'BINDING_MISMATCH other-imsi'],
  ['both', { bytes: claiming(other.imei, other.imsi) }, 'BINDING_MISMATCH other-imei-and-imsi'],
  [
    'taken before',
    { bytes: good, logins: [replayEntry(SECONDS, digestOf(good))] },
    'REPLAY frame-taken-before',
  ],
  ['another taken before', { bytes: good, logins: [replayEntry(SECONDS - 1, digestOf(good))] }, 'OK'],
  ['one less than kept', { bytes: good, logins: full.slice(1) }, 'OK'],
  ['as many as kept', { bytes: good, logins: full }, 'THROTTLED too-many-logins'],
  ['the key shown', { bytes: forKey(true) }, 'OK'],
  ['another key shown', { bytes: forKey(false) }, 'BASE_KEY_MISMATCH wrong-base-key-digest'],
  ['no key stored', { bytes: forKey(true), record: { baseKey: undefined } }, 'BASE_KEY_MISMATCH no-base-key'],
  [
    'a key of another size',
    { bytes: forKey(Buffer.alloc(24, 1)), record: { baseKey: Buffer.alloc(24, 1) } },
    'BASE_KEY_MISMATCH wrong-base-key-digest',
  ],
])('%s: %#', (_name, one, expected) => {
  expect(outcome(one)).toBe(expected);
});

test.each([-121, -120, -60, -1, 0, 59, 60, 119, 120])('a time left out, %d s from now', (off) => {
  // The minute of now has begun 8 s ago.
  const step = Math.floor((off + 8) / 60);
  const bytes = at(off, { implicit: true });
  expect(outcome({ bytes })).toBe(Math.abs(step) <= 1 ? 'OK' : 'AUTH_FAILED wrong-digest');
});

const KINDS: readonly LoginKind[] = ['wmmp3', 'md5', 'hmac', 'mutual'];

test.each(KINDS)('least_login %s', (leastLogin) => {
  const weaker = (kind: LoginKind) => KINDS.indexOf(kind) < KINDS.indexOf(leastLogin);
  const said = (kind: LoginKind) => (weaker(kind) ? 'AUTH_FAILED below-least-login' : 'OK');
  expect(outcome({ bytes: good, record: { leastLogin } })).toBe(said('md5'));
  expect(outcome({ bytes: at(0, { suite: 2 }), record: { leastLogin } })).toBe(said('hmac'));
  expect(outcome({ ...mutual(), record: { leastLogin } })).toBe('OK');
});

/** Each breaks its own rule and all behind it in the list. */
test('the first rule that fails speaks', () => {
  const claim = { imei: other.imei, imsi: other.imsi };
  const key = { askKey: true, keyProof: other.baseKey };
  const password = other.uplinkPassword;
  const worst = at(-400, { claim, ...key });
  const logins = [worst, at(0, key)].map((bytes) =>
    replayEntry(message(bytes).fields.timestamp!, digestOf(bytes)),
  );
  const found = [
    { bytes: at(-400, { claim, ...key, password }), record: { leastLogin: 'hmac', status: 'retired' } },
    { bytes: at(-400, { claim, ...key, password }), record: { status: 'retired' } },
    { bytes: worst, record: { status: 'retired' } },
    { bytes: worst },
    { bytes: at(0, { claim, ...key }) },
    { bytes: at(0, key) },
  ].map((one) => outcome({ ...(one as Case), logins }).split(' ')[0]);
  expect(found).toEqual([
    'AUTH_FAILED',
    'AUTH_FAILED',
    'SUSPENDED',
    'CLOCK_SKEW',
    'BINDING_MISMATCH',
    'REPLAY',
  ]);
});

test('what a login that passes is given', () => {
  const changes = { wished: 5, lastId: 0, pending: undefined, confirmed: undefined };
  const { answer, session, write } = granted({ bytes: forKey(true), record: { changes, revision: 7 } });
  const { sessionKey, ...fields } = answer.fields!;
  const signer = { suite: 1, password: device.downlinkPassword, imei: device.imei, imsi: device.imsi };
  const sessionId = AROUND.sessionId(1);
  expect(fields).toEqual({ sessionId, sessionTtl: 3600, heartbeatInterval: 60, changeTargets: 5 });
  expect(unwrap(device.baseKey, sessionKey!)).toEqual(AROUND.random(16));
  expect(answer).toMatchObject({ result: 'OK', signer });
  expect(answer).not.toHaveProperty('detail');
  expect(session).toMatchObject({
    ...{ id: sessionId.toString('hex'), login: 'md5', signer, lastSequence: 1, wmmp: undefined },
    ...{ expiresAt: AROUND.now + 3_600_000, terminal: { serial: device.serial, revision: 7 } },
  });
  expect(write).toEqual({
    ...{
      terminalId: 1,
      serial: device.serial,
      revision: 7,
      sessionId: sessionId.toString('hex'),
      login: 'md5',
    },
    ...{ sessionKey: AROUND.random(16), address: '192.0.2.9', credentials: undefined },
    replayEntry: replayEntry(SECONDS, digestOf(forKey(true))),
  });
  const plain = granted({ bytes: good });
  expect(plain.answer.fields).toEqual({ sessionId, sessionTtl: 3600, heartbeatInterval: 60 });
  expect(plain.write.sessionKey).toBeUndefined();
});

test('a refusal that shows the password was right is signed under the claimed identity; no other is', () => {
  const signerOf = (one: Case) => {
    const decision = decided(one);
    return 'refused' in decision ? decision.refused.signer : undefined;
  };
  const bytes = at(0, { suite: 2, claim: { imei: device.imei, imsi: other.imsi } });
  const signer = { suite: 2, password: device.downlinkPassword, imei: device.imei, imsi: other.imsi };
  expect(signerOf({ bytes })).toEqual(signer);
  expect(signerOf({ bytes: at(0, { password: other.uplinkPassword }) })).toBeUndefined();
  expect(signerOf({ bytes: good, record: { leastLogin: 'hmac' } })).toBeUndefined();
});

test('THROTTLED says when the oldest entry will have gone', () => {
  const decision = decided({ bytes: good, logins: full });
  const oldest = SECONDS - (LOGINS_KEPT - 1);
  expect(decision).toMatchObject({ refused: { fields: { retryAfter: (oldest + 331 - SECONDS) * 1000 } } });
});

const PACKET_KEY = { id: '45a2f6b2', key: Buffer.alloc(32, 3) };
const hardwareId = Buffer.from('chip-1');

interface Wrong {
  readonly baseKey?: Buffer;
  readonly serial?: string;
  readonly imei?: string;
  readonly hardwareId?: Buffer;
  readonly packetKey?: Buffer;
  readonly shownNonce?: Buffer;
}

/** AUTH_PROOF as it should be, or with something in it that belongs to somebody else. */
function mutual(wrong: Wrong = {}): Case {
  const serverNonce = Buffer.alloc(16, 9);
  const parts = { serial: device.serial, clientNonce: Buffer.alloc(16, 8), serverNonce, timestamp: SECONDS };
  const first = firstCode(device.baseKey, parts);
  const identity = { serial: device.serial, imei: device.imei, hardwareId, ...wrong };
  const packet = mintPacket(wrong.packetKey ?? PACKET_KEY.key, PACKET_KEY.id, {
    ...identity,
    issuedAt: 1000,
  });
  const third = thirdCode(wrong.baseKey ?? device.baseKey, first);
  const shown = { hardwareId, packet, serverNonce: wrong.shownNonce ?? serverNonce, third };
  return {
    bytes: proof(shown)(device, { suite: 2, at: SECONDS }),
    around: { packetKeys: () => new Map([[PACKET_KEY.id, PACKET_KEY]]) },
    challenge: { serial: paddedSerial(device.serial), serverNonce, firstCode: first },
  };
}

const strange = { ...mutual().challenge!, serial: paddedSerial(other.serial) };

test.each<[string, Case, string]>([
  ['as it should be', mutual(), 'OK'],
  ['no challenge', { ...mutual(), challenge: undefined }, 'AUTH_FAILED no-challenge'],
  ['the challenge of another serial', { ...mutual(), challenge: strange }, 'AUTH_FAILED no-challenge'],
  ['another nonce', mutual({ shownNonce: Buffer.alloc(16, 1) }), 'AUTH_FAILED no-challenge'],
  ['another base key', mutual({ baseKey: other.baseKey }), 'AUTH_FAILED third-code'],
  ['no base key', { ...mutual(), record: { baseKey: undefined } }, 'AUTH_FAILED third-code'],
  ['24 bytes', { ...mutual(), record: { baseKey: Buffer.alloc(24) } }, 'AUTH_FAILED third-code'],
  ['the packet of another serial', mutual({ serial: other.serial }), 'AUTH_FAILED packet'],
  ['the packet of another IMEI', mutual({ imei: other.imei }), 'AUTH_FAILED packet'],
  ['another packet key', mutual({ packetKey: Buffer.alloc(32, 4) }), 'AUTH_FAILED packet'],
  ['an unknown packet key', { ...mutual(), around: { packetKeys: () => new Map() } }, 'AUTH_FAILED packet'],
  ['another device', mutual({ hardwareId: Buffer.from('chip-2') }), 'AUTH_FAILED hardware-id'],
  ['revoked then', { ...mutual(), record: { packetsRevokedAt: 1000 } }, 'AUTH_FAILED revoked'],
  ['revoked before', { ...mutual(), record: { packetsRevokedAt: 999 } }, 'OK'],
  ['suspended', { ...mutual(), record: { status: 'suspended' } }, 'SUSPENDED suspended'],
])('AUTH_PROOF, %s', (_name, one, expected) => {
  expect(outcome(one)).toBe(expected);
});

const PENDING: PendingChange = {
  ...{ id: 5, targets: 7, settled: 0, bySms: false, shown: 'never', textAt: undefined },
  ...{
    uplinkPassword: Buffer.alloc(16, 1),
    downlinkPassword: Buffer.alloc(16, 2),
    baseKey: Buffer.alloc(16, 3),
  },
};
const pending = (extra: Partial<PendingChange> = {}): Partial<TerminalRecord> => ({
  changes: { wished: 7, lastId: 5, pending: { ...PENDING, ...extra }, confirmed: undefined },
});
const under = (key: boolean | Buffer, password = PENDING.uplinkPassword!) =>
  loginForKey(device, { suite: 1, at: SECONDS, password, keyProof: key });

test.each<[string, Buffer, Partial<PendingChange>, number]>([
  ['the new password', at(0, { password: PENDING.uplinkPassword! }), {}, 3],
  ['the new password, the old key', under(true), {}, 3],
  ['both', under(PENDING.baseKey!), {}, 7],
  ['the new key', under(PENDING.baseKey!, device.uplinkPassword), {}, 4],
  ['both, one settled before', under(PENDING.baseKey!), { settled: 2 }, 5],
  ['neither', good, {}, 0],
])('under %s of a pending change', (_name, bytes, extra, settled) => {
  const { answer, session, write } = granted({ bytes, record: pending(extra) });
  const password = (settled & 2) === 0 ? device.downlinkPassword : PENDING.downlinkPassword;
  expect(answer.signer!.password).toEqual(password);
  expect(answer.detail).toBe(settled === 0 ? undefined : 'settled-pending-change');
  const all = settled | (extra.settled ?? 0);
  expect(session.terminal.changes.pending?.settled).toBe(all === 7 ? undefined : all);
  expect(session.terminal.changes.confirmed).toEqual(all === 7 ? { id: 5, targets: 7 } : undefined);
  expect(session.terminal.revision).toBe(settled === 0 ? 1 : 2);
  expect(write.credentials?.settled).toBe(settled === 0 ? undefined : settled);
  expect(session.terminal.uplinkPassword).toEqual(
    (settled & 1) === 0 ? device.uplinkPassword : PENDING.uplinkPassword,
  );
  expect(session.terminal.baseKey).toEqual((settled & 4) === 0 ? device.baseKey : PENDING.baseKey);
});

test.each<[string, Buffer, Partial<PendingChange>, string]>([
  ['sent by SMS', at(0, { password: PENDING.uplinkPassword! }), { bySms: true }, 'AUTH_FAILED wrong-digest'],
  [
    'its key sent by SMS',
    under(PENDING.baseKey!, device.uplinkPassword),
    { bySms: true },
    'BASE_KEY_MISMATCH wrong-base-key-digest',
  ],
  [
    'of the key alone',
    at(0, { password: PENDING.uplinkPassword! }),
    { targets: 4 },
    'AUTH_FAILED wrong-digest',
  ],
  [
    'of the passwords alone',
    under(PENDING.baseKey!),
    { targets: 3 },
    'BASE_KEY_MISMATCH wrong-base-key-digest',
  ],
  [
    'settled before',
    at(0, { password: PENDING.uplinkPassword! }),
    { settled: 3 },
    'AUTH_FAILED wrong-digest',
  ],
])('a change %s lets nobody in', (_name, bytes, extra, expected) => {
  expect(outcome({ bytes, record: pending(extra) })).toBe(expected);
});

test('WMMP 3.0: a first login under new values is answered under them, and settles nothing yet', () => {
  const bytes = wmmpLogin(device, { password: PENDING.uplinkPassword! });
  const message3 = decodeWmmp(readHeader(bytes), bytes);
  if (isFault(message3)) throw new Error(message3.name);
  const first = (extra: Partial<PendingChange>) => {
    const record = recordOf(device, pending({ ...PENDING, ...extra }));
    const found = decideLogin(message3, { record, row: undefined }, AROUND, '192.0.2.9');
    return 'granted' in found ? found.granted : undefined;
  };
  const { answer, session, write } = first({})!;
  expect(answer).toMatchObject({ detail: 'under-pending-credentials', fields: { timestamp: SECONDS } });
  expect(answer.signer).toMatchObject({ suite: 1, password: PENDING.downlinkPassword });
  expect(session).toMatchObject({
    login: 'wmmp3',
    wmmp: { version: 0x0300, timestamp: SECONDS, unsettled: 3 },
  });
  expect(write.credentials).toMatchObject({
    settled: 0,
    record: { changes: { pending: { shown: 'latest' } } },
  });
  expect(write.replayEntry).toMatch(/^00000000-/);
  // A change of the uplink password alone leaves the downlink one as it is.
  expect(first({ targets: 5 })!.answer.signer!.password).toEqual(device.downlinkPassword);
  expect(first({ shown: 'latest' })!.answer.detail).toBe('settled-pending-change');
});
