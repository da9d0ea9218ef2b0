/** Requests of a standing session: what each is refused for, and what its commit writes. */
import { decideChange, decideConfirm } from '../../../src/platform/flows/credentialChange';
import {
  answersNotice,
  authenticate,
  decideHeartbeat,
  decideLogout,
  decideSessionKey,
  isAuthentic,
  refuseByRow,
  type RequestCase,
  type RequestDecision,
} from '../../../src/platform/flows/inSession';
import { replayEntry, REQUESTS_KEPT } from '../../../src/platform/flows/replay';
import type {
  Answer,
  PendingChange,
  Session,
  Surroundings,
  TerminalRecord,
} from '../../../src/platform/model';
import { decode, type Message } from '../../../src/protocol/decode';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { newTerminal } from '../../support/operator';
import * as oracle from '../../support/oracle';
import { AROUND, recordOf, sessionOf } from '../../support/rooms';

const SECONDS = AROUND.now / 1000;
const device = newTerminal();
const other = newTerminal();
const base = { suite: 1, at: SECONDS, sequence: 10 };

function message(bytes: Buffer): Message {
  const found = decode(readHeader(bytes), bytes);
  if (isFault(found)) throw new Error(found.name);
  return found;
}

const standing = (extra: Partial<TerminalRecord> = {}): Session =>
  sessionOf(recordOf(device, { leastLogin: 'md5', ...extra }), { lastSequence: 9 });
const said = ({ result, detail }: Answer) => [result, detail].filter(Boolean).join(' ');
const beat = (options: Partial<oracle.RequestOptions> = {}) =>
  message(oracle.heartbeat(device, { ...base, ...options }));

test.each<[string, Partial<oracle.RequestOptions>, string]>([
  ['as it should be', {}, 'OK'],
  ['another password', { password: other.uplinkPassword }, 'AUTH_FAILED wrong-digest'],
  ['another suite than its login', { suite: 2 }, 'AUTH_FAILED other-suite'],
  ['above the window', { at: SECONDS + 301 }, 'CLOCK_SKEW clock-ahead-by-301s'],
  ['below the window', { at: SECONDS - 301 }, 'CLOCK_SKEW clock-behind-by-301s'],
  ['at the edge', { at: SECONDS - 300 }, 'OK'],
  ['the same sequence', { sequence: 9 }, 'REPLAY sequence-not-rising'],
  ['an older one', { sequence: 8 }, 'REPLAY sequence-not-rising'],
  ['half the circle on', { sequence: 9 + 2 ** 31 }, 'REPLAY sequence-not-rising'],
  ['just less', { sequence: 8 + 2 ** 31 }, 'OK'],
  ['late and old', { at: SECONDS + 301, sequence: 9 }, 'CLOCK_SKEW clock-ahead-by-301s'],
])('HEARTBEAT, %s', (_name, options, expected) => {
  const session = standing();
  const answer = decideHeartbeat(beat(options), session, AROUND);
  expect(said(answer)).toBe(expected);
  expect(session.lastSequence).toBe(expected === 'OK' ? (options.sequence ?? 10) : 9);
  // Whoever has not shown the password is told nothing that is signed.
  expect(answer.signer).toEqual(expected.startsWith('AUTH_FAILED') ? undefined : session.signer);
});

function requestCase(bytes: Buffer, session: Session, around: Partial<Surroundings> = {}): RequestCase {
  const surroundings = { ...AROUND, ...around };
  const found = message(bytes);
  const authentic = authenticate(found, session, surroundings);
  if (!isAuthentic(authentic)) throw new Error(authentic.detail);
  const entry = replayEntry(authentic.timestamp, found.digest!);
  return { message: found, session, authentic, around: surroundings, record: session.terminal, entry };
}

const row = (extra: object = {}) => ({
  ...{ sessionId: '13ddb37c3eac2743', endReason: undefined, logins: [], requests: [] },
  ...extra,
});

test('what the database holds may refuse', () => {
  const request = requestCase(oracle.logout(device, base), standing());
  const full = Array.from({ length: REQUESTS_KEPT }, (_, n) => replayEntry(SECONDS - n, Buffer.alloc(16, n)));
  const refused = (held: object) => {
    const answer = refuseByRow(request, row(held));
    return answer && said(answer);
  };
  expect(refused({})).toBeUndefined();
  expect(refused({ sessionId: '0000000000000000' })).toBe('NOT_LOGGED_IN superseded');
  expect(refused({ sessionId: undefined, endReason: 'suspended' })).toBe('NOT_LOGGED_IN suspended');
  expect(refused({ requests: [request.entry] })).toBe('REPLAY frame-taken-before');
  expect(refuseByRow(request, row({ requests: [request.entry] }))?.signer).toEqual(request.session.signer);
  expect(refused({ requests: full.slice(1) })).toBeUndefined();
  expect(refused({ requests: full })).toBe('THROTTLED too-many-requests');
  const retryAfter = (331 - (REQUESTS_KEPT - 1)) * 1000;
  expect(refuseByRow(request, row({ requests: full }))?.fields).toEqual({ retryAfter });
});

test('LOGOUT and SESSION_KEY', () => {
  const leaving = requestCase(oracle.logout(device, base), standing());
  const { entry, session } = leaving;
  const write = {
    ...{ terminalId: 1, serial: device.serial, revision: 1, sessionId: session.id, replayEntry: entry },
  };
  expect(decideLogout(leaving)).toEqual({
    answer: { result: 'OK', signer: session.signer },
    write: { ...write, kind: 'logout', sessionKey: undefined, credentials: undefined },
  });
  const asking = requestCase(oracle.sessionKey(device, base), standing());
  const decision = decideSessionKey(asking);
  expect(oracle.unwrap(device.baseKey, decision.answer.fields!.sessionKey!)).toEqual(AROUND.random(16));
  expect(decision.answer.fields!.sessionId).toEqual(Buffer.from(session.id, 'hex'));
  expect(decision).toMatchObject({
    answer: { result: 'OK', signer: session.signer },
    write: { ...write, kind: 'session-key', sessionKey: AROUND.random(16), replayEntry: asking.entry },
  });
  const wrong = requestCase(oracle.sessionKey(device, { ...base, keyProof: other.baseKey }), standing());
  expect(decideSessionKey(wrong)).toEqual({
    answer: { result: 'BASE_KEY_MISMATCH', signer: session.signer, detail: 'wrong-base-key-digest' },
  });
});

const asked = message(oracle.heartbeat(device, { ...base, sequence: 77 })).digest!;
const NOTICE = { sequence: 3, suite: 1, digest: asked } as oracle.Parsed;

test.each<[string, oracle.Parsed, Partial<oracle.RequestOptions>, object, boolean]>([
  ['as it should be', NOTICE, {}, {}, true],
  ['no notice waits', NOTICE, {}, { notice: undefined }, false],
  ['another sequence', { ...NOTICE, sequence: 4 }, {}, {}, false],
  ['another digest', { ...NOTICE, digest: Buffer.alloc(16) }, {}, {}, false],
  ['another password', NOTICE, { password: other.uplinkPassword }, {}, false],
  ['another suite', { ...NOTICE, suite: 2 }, {}, {}, false],
])('the answer to a notice: %s', (_name, notice, options, held, expected) => {
  const session = { ...standing(), notice: { sequence: 3, digest: asked }, ...held };
  const bytes = oracle.noticeAnswer(notice)(device, { at: SECONDS, ...options });
  expect(answersNotice(message(bytes), session, AROUND.now)).toBe(expected);
});

const [DECIDE, CIPHERTEXT, SMS, PLAIN] = [0, 1, 2, 3];

/** How a change of these targets travels, or why it does not. */
test.each<[string, number, number | undefined, boolean | Buffer, Partial<TerminalRecord>, string]>([
  ['key shown', 7, undefined, true, {}, 'OK by-ciphertext'],
  ['key shown, as the platform decides', 7, DECIDE, true, {}, 'OK by-ciphertext'],
  ['key shown, ciphertext', 3, CIPHERTEXT, true, {}, 'OK by-ciphertext'],
  ['key shown, SMS', 7, SMS, true, {}, 'WAIT_FOR_SMS by-sms'],
  ['plain SMS', 7, PLAIN, true, {}, 'WAIT_FOR_SMS by-sms'],
  ['no key shown', 7, undefined, false, {}, 'WAIT_FOR_SMS by-sms'],
  ['another key shown', 7, DECIDE, other.baseKey, {}, 'WAIT_FOR_SMS by-sms'],
  ['no key shown, ciphertext', 7, CIPHERTEXT, false, {}, 'CHANGE_REFUSED wrong-base-key-digest'],
  ['no number', 7, SMS, true, { msisdn: undefined }, 'CHANGE_REFUSED no-phone-number'],
  ['no number and no key shown', 7, DECIDE, false, { msisdn: undefined }, 'CHANGE_REFUSED no-phone-number'],
  ['no base key to change', 4, SMS, false, { baseKey: undefined }, 'CHANGE_REFUSED no-base-key'],
  ['one of 24 bytes', 4, SMS, false, { baseKey: Buffer.alloc(24) }, 'CHANGE_REFUSED no-base-key'],
  ['passwords without a base key', 3, SMS, false, { baseKey: undefined }, 'WAIT_FOR_SMS by-sms'],
  [
    'may log in by WMMP 3.0',
    7,
    CIPHERTEXT,
    true,
    { leastLogin: 'wmmp3' },
    'CHANGE_REFUSED least-login-is-wmmp3',
  ],
])('CREDENTIAL_CHANGE, %s', (_name, targets, delivery, keyProof, record, expected) => {
  const bytes = oracle.credentialChange(targets, delivery)(device, { ...base, keyProof });
  const request = requestCase(bytes, standing(record));
  const decision = decideChange(request);
  expect(said(decision.answer)).toBe(expected);
  expect(decision.answer.signer).toEqual(request.session.signer);
  expect('write' in decision).toBe(!expected.startsWith('CHANGE_REFUSED'));
  if (!('write' in decision)) return;
  expect(decision.write.kind).toBe('credentials');
  const { pending } = decision.write.credentials!.record.changes;
  expect(pending).toMatchObject({
    id: 1,
    targets,
    settled: 0,
    bySms: expected.endsWith('sms'),
    shown: 'never',
  });
  expect(held(pending!)).toBe(targets);
  expect(decision.write.credentials!.text?.text.slice(0, 8)).toBe(
    !pending!.bySms ? undefined : delivery === PLAIN ? 'M2M1 C=1' : 'M2M2 C=1',
  );
});

const held = ({ uplinkPassword, downlinkPassword, baseKey }: PendingChange) =>
  (uplinkPassword ? 1 : 0) | (downlinkPassword ? 2 : 0) | (baseKey ? 4 : 0);

test('a text in plain is refused unless the operator allows it', () => {
  const bytes = oracle.credentialChange(7, PLAIN)(device, base);
  const request = requestCase(bytes, standing(), { plainTexts: false });
  expect(said(decideChange(request).answer)).toBe('CHANGE_REFUSED plain-sms-is-off');
});

const PENDING: PendingChange = {
  ...{ id: 5, targets: 7, settled: 0, bySms: true, shown: 'never', textAt: undefined },
  ...{
    uplinkPassword: Buffer.alloc(16, 1),
    downlinkPassword: Buffer.alloc(16, 2),
    baseKey: Buffer.alloc(16, 3),
  },
};
const changing = (pending: Partial<PendingChange> = {}, confirmed?: { id: number; targets: number }) =>
  standing({ changes: { wished: 7, lastId: 5, pending: { ...PENDING, ...pending }, confirmed } });

const writtenBy = (decision: RequestDecision) =>
  'write' in decision ? decision.write.credentials! : undefined;

test.each([
  [undefined, true],
  [AROUND.now - 60_000, true],
  [AROUND.now - 59_999, false],
])('asked again, its text of %p goes out once more: %p', (textAt, again) => {
  const bytes = oracle.credentialChange(7, SMS)(device, base);
  const decision = decideChange(requestCase(bytes, changing({ textAt })));
  expect(decision.answer).toMatchObject({ fields: { changeId: 5, changeTargets: 7 } });
  expect(said(decision.answer)).toBe(`WAIT_FOR_SMS by-sms${again ? '' : '-sent-already'}`);
  const { text, record, settled } = writtenBy(decision)!;
  expect([text !== undefined, settled]).toEqual([again, 0]);
  expect(record.changes.pending).toEqual({ ...PENDING, textAt: again ? AROUND.now : textAt });
});

test('of other targets, or of a form that does not fit, it is a new change', () => {
  const ask = (targets: number, pending: Partial<PendingChange>) =>
    decideChange(requestCase(oracle.credentialChange(targets, SMS)(device, base), changing(pending)));
  expect(ask(7, {}).answer.fields).toMatchObject({ changeId: 5 });
  expect(ask(3, {}).answer.fields).toMatchObject({ changeId: 6, changeTargets: 3 });
  expect(ask(3, { targets: 3, baseKey: undefined }).answer.fields).toMatchObject({ changeId: 5 });
  for (const name of ['uplinkPassword', 'downlinkPassword', 'baseKey'] as const)
    expect(ask(7, { [name]: Buffer.alloc(8) }).answer.fields).toMatchObject({ changeId: 6 });
});

test('a change of passwords is asked for again where there is no base key', () => {
  const pending = { ...PENDING, targets: 3, baseKey: undefined };
  const changes = { wished: 3, lastId: 5, pending, confirmed: undefined };
  const bytes = oracle.credentialChange(3, SMS)(device, base);
  const decision = decideChange(requestCase(bytes, standing({ changes, baseKey: undefined })));
  expect(decision.answer.fields).toMatchObject({ changeId: 5 });
});

const confirm = (id: number, options: Partial<oracle.RequestOptions>) =>
  oracle.credentialConfirm(id)(device, { ...base, ...options });
const under = { password: PENDING.uplinkPassword!, keyProof: PENDING.baseKey! };

test.each<[string, Session, number, Partial<oracle.RequestOptions>, string]>([
  ['as it should be', changing(), 5, under, 'OK'],
  ['another id', changing(), 6, under, 'CHANGE_REFUSED unknown-change-id'],
  [
    'under the old password',
    changing(),
    5,
    { keyProof: PENDING.baseKey! },
    'CHANGE_REFUSED not-under-new-uplink-password',
  ],
  [
    'without the new key',
    changing(),
    5,
    { ...under, keyProof: false },
    'BASE_KEY_MISMATCH new-base-key-not-shown',
  ],
  [
    'with the old key',
    changing(),
    5,
    { ...under, keyProof: true },
    'BASE_KEY_MISMATCH new-base-key-not-shown',
  ],
  ['no key in it', changing({ targets: 3, baseKey: undefined }), 5, { ...under, keyProof: false }, 'OK'],
  ['its password settled before', changing({ settled: 3 }), 5, { keyProof: PENDING.baseKey! }, 'OK'],
  ['its key settled before', changing({ settled: 4 }), 5, { ...under, keyProof: true }, 'OK'],
])('CREDENTIAL_CONFIRM, %s', (_name, session, id, options, expected) => {
  const before = session.terminal;
  const decision = decideConfirm(requestCase(confirm(id, options), session));
  expect(said(decision.answer)).toBe(expected);
  const after = writtenBy(decision);
  if (expected !== 'OK') return expect(after).toBeUndefined();
  const { pending } = before.changes;
  const open = pending!.targets & ~pending!.settled;
  expect(after!.settled).toBe(open);
  const current = (target: number, name: 'uplinkPassword' | 'downlinkPassword' | 'baseKey') =>
    expect(after!.record[name]).toEqual((open & target) === 0 ? before[name] : pending![name]);
  current(1, 'uplinkPassword');
  current(2, 'downlinkPassword');
  current(4, 'baseKey');
  expect(decision.answer.signer!.password).toEqual(after!.record.downlinkPassword);
  expect(decision.answer.fields).toEqual({ changeId: 5 });
  expect(after!.record).toMatchObject({ revision: before.revision + 1 });
  const confirmed = { id: 5, targets: pending!.targets };
  expect(after!.record.changes).toEqual({ wished: 7 & ~open, lastId: 5, pending: undefined, confirmed });
});

const confirmedThen = (targets: number) =>
  standing({ changes: { wished: 0, lastId: 5, pending: undefined, confirmed: { id: 5, targets } } });

test.each<[string, Session, Partial<oracle.RequestOptions>, string]>([
  ['with its key', confirmedThen(7), { keyProof: true }, 'OK'],
  ['without its key', confirmedThen(7), {}, 'BASE_KEY_MISMATCH new-base-key-not-shown'],
  ['without a key in it', confirmedThen(3), {}, 'OK'],
  [
    'under a password that is pending since',
    changing({ id: 6 }, { id: 5, targets: 3 }),
    { password: PENDING.uplinkPassword! },
    'CHANGE_REFUSED not-under-current-uplink-password',
  ],
])('CREDENTIAL_CONFIRM once more, %s', (_name, session, options, expected) => {
  const decision = decideConfirm(requestCase(confirm(5, options), session));
  expect(said(decision.answer)).toBe(expected);
  expect(writtenBy(decision)?.settled).toBe(expected === 'OK' ? 0 : undefined);
});

test('frames but CREDENTIAL_CONFIRM are good under the current password alone', () => {
  const session = changing({ bySms: false });
  const password = PENDING.uplinkPassword!;
  expect(said(decideHeartbeat(beat({ password }), session, AROUND))).toBe('AUTH_FAILED wrong-digest');
  const bytes = oracle.logout(device, { ...base, password });
  expect(authenticate(message(bytes), session, AROUND)).toMatchObject({ result: 'AUTH_FAILED' });
});

test('a text that is masked needs no permission', () => {
  const bytes = oracle.credentialChange(7, SMS)(device, base);
  const request = requestCase(bytes, standing(), { plainTexts: false });
  expect(said(decideChange(request).answer)).toBe('WAIT_FOR_SMS by-sms');
});

test('any other id than that of the last confirmed change is unknown', () => {
  const decision = decideConfirm(requestCase(confirm(4, { keyProof: true }), confirmedThen(7)));
  expect(said(decision.answer)).toBe('CHANGE_REFUSED unknown-change-id');
});

const NEW = ['newUplinkPassword', 'newDownlinkPassword', 'newBaseKey'] as const;

test.each([1, 2, 3, 4, 5, 6, 7])('as ciphertext: the values of targets %d, and no others', (targets) => {
  const bytes = oracle.credentialChange(targets)(device, { ...base, keyProof: true });
  const decision = decideChange(requestCase(bytes, standing()));
  const { pending } = writtenBy(decision)!.record.changes;
  const values = [pending!.uplinkPassword, pending!.downlinkPassword, pending!.baseKey];
  const { changeId, changeTargets, ...fields } = decision.answer.fields!;
  expect([changeId, changeTargets]).toEqual([1, targets]);
  const opened = NEW.map((name) => fields[name] && oracle.unwrap(device.baseKey, fields[name]));
  expect(opened).toEqual(values);
  expect(values.map((value) => value !== undefined)).toEqual([1, 2, 4].map((one) => (targets & one) !== 0));
});

test('asked again under the pending key: that key is settled, and wraps the same values', () => {
  const bytes = oracle.credentialChange(7)(device, { ...base, keyProof: PENDING.baseKey! });
  const session = changing({ bySms: false });
  const decision = decideChange(requestCase(bytes, session));
  const { settled, record } = writtenBy(decision)!;
  expect(settled).toBe(4);
  expect(record).toMatchObject({
    baseKey: PENDING.baseKey,
    revision: 2,
    uplinkPassword: device.uplinkPassword,
  });
  expect(record.changes.pending).toEqual({ ...PENDING, bySms: false, settled: 4 });
  const { newUplinkPassword, newBaseKey } = decision.answer.fields!;
  expect(oracle.unwrap(PENDING.baseKey!, newUplinkPassword!)).toEqual(PENDING.uplinkPassword);
  expect(oracle.unwrap(PENDING.baseKey!, newBaseKey!)).toEqual(PENDING.baseKey);
  // Of other targets it is a new change, which stands beside the key that was settled.
  const other = oracle.credentialChange(1)(device, { ...base, keyProof: PENDING.baseKey! });
  const fresh = writtenBy(decideChange(requestCase(other, changing({ bySms: false }))))!;
  expect(fresh).toMatchObject({ settled: 4, record: { baseKey: PENDING.baseKey, changes: { lastId: 6 } } });
  expect(fresh.record.changes.pending).toMatchObject({ id: 6, targets: 1, settled: 0 });
});
