/** WMMP 3.0: what a session's frames must show, what they settle, and the gateway's frames as the oracle reads them. */
import { decideLogin } from '../../../src/platform/flows/login';
import type { SessionCase } from '../../../src/platform/flows/inSession';
import {
  encodeAcknowledgement,
  encodeLoginAnswer,
  encodeSecurityConfig,
} from '../../../src/platform/flows/wmmp/answer';
import {
  decideSecurityConfig,
  decideSettling,
  decideWmmpLogout,
  flawOf,
} from '../../../src/platform/flows/wmmp/requests';
import {
  NO_CHANGES,
  type ChangeState,
  type PendingChange,
  type Session,
  type TerminalRecord,
} from '../../../src/platform/model';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { decodeWmmp, type WmmpMessage } from '../../../src/protocol/wmmp/decode';
import { newTerminal } from '../../support/operator';
import { AROUND, recordOf, sessionOf } from '../../support/rooms';
import * as oracle from '../../support/wmmpOracle';

const SECONDS = AROUND.now / 1000;
const used = Buffer.alloc(16, 0x11).fill(0x22, 8);
const keyOf = (bytes: Buffer) => Buffer.concat([bytes, bytes.subarray(0, 8)]);
const device = {
  ...newTerminal(),
  uplinkPassword: Buffer.from('uplink00'),
  downlinkPassword: Buffer.from('downlink'),
  baseKey: keyOf(used),
};
const stranger = Buffer.from('stranger');

function message(bytes: Buffer): WmmpMessage {
  const found = decodeWmmp(readHeader(bytes), bytes);
  if (isFault(found)) throw new Error(found.name);
  return found;
}

const PENDING: PendingChange = {
  ...{ id: 5, targets: 7, settled: 0, bySms: false, shown: 'never', textAt: undefined },
  ...{ uplinkPassword: Buffer.from('newup000'), downlinkPassword: Buffer.from('newdown0') },
  baseKey: keyOf(Buffer.alloc(16, 0x33)),
};
const changing = (pending: Partial<PendingChange>, wished = 7): { changes: ChangeState } => ({
  changes: { ...NO_CHANGES, wished, lastId: 5, pending: { ...PENDING, ...pending } },
});
const standing = (extra: Partial<TerminalRecord> = {}): Session =>
  sessionOf(recordOf(device, extra), { wmmp: SECONDS });

describe('LOGIN', () => {
  const judged = (bytes: Buffer, extra: Partial<TerminalRecord> = {}) =>
    decideLogin(message(bytes), { record: recordOf(device, extra), row: undefined }, AROUND, '192.0.2.9');
  const outcome = (bytes: Buffer, extra: Partial<TerminalRecord> = {}) => {
    const found = judged(bytes, extra);
    return 'granted' in found ? 'OK' : `${found.refused.result} ${found.refused.detail}`;
  };
  const keyless = { baseKey: undefined };
  const asking = (keyProof: true | Buffer) => oracle.wmmpLogin(device, { keyProof });
  const unsigned = oracle.wmmpFrame({ command: 1, serial: device.serial, body: Buffer.alloc(12) });
  const underNew = oracle.wmmpLogin(device, { password: PENDING.uplinkPassword! });
  const short = { baseKey: Buffer.alloc(16, 1) };

  test.each<[string, Buffer, Partial<TerminalRecord>, string]>([
    ['as it should be', oracle.wmmpLogin(device), {}, 'OK'],
    ['another password', oracle.wmmpLogin(device, { password: stranger }), {}, 'AUTH_FAILED wrong-digest'],
    ['no digest', unsigned, {}, 'AUTH_FAILED wrong-digest'],
    ['a new password that nobody was given', underNew, {}, 'AUTH_FAILED wrong-digest'],
    ['the new password', underNew, changing({}), 'OK'],
    ['the old password beside it', oracle.wmmpLogin(device), changing({}), 'OK'],
    ['too weak', oracle.wmmpLogin(device), { leastLogin: 'md5' }, 'AUTH_FAILED below-least-login'],
    ['the key shown', asking(true), {}, 'OK'],
    ['the new key shown', asking(PENDING.baseKey!), changing({}), 'OK'],
    ['another key', asking(keyOf(stranger)), {}, 'BASE_KEY_MISMATCH wrong-base-key-digest'],
    ['no key stored', asking(true), keyless, 'BASE_KEY_MISMATCH no-base-key'],
    ['a key of version 4.0', asking(short.baseKey), short, 'BASE_KEY_MISMATCH wrong-base-key-digest'],
  ])('%s', (_name, bytes, record, expected) => expect(outcome(bytes, record)).toBe(expected));

  test.each<[string, Buffer, number]>([
    ['neither', oracle.wmmpLogin(device), 0],
    ['the old key alone', asking(true), 0],
    ['the new password', underNew, 3],
    ['the new key', asking(PENDING.baseKey!), 4],
    ['both', oracle.wmmpLogin(device, { password: PENDING.uplinkPassword!, keyProof: PENDING.baseKey! }), 7],
  ])('beside a change, under %s of it', (_name, bytes, unsettled) => {
    const found = judged(bytes, changing({}));
    expect('granted' in found && found.granted.session.wmmp?.unsettled).toBe(unsettled);
  });

  test('is answered with a session key under the base key, and its time', () => {
    const bytes = oracle.wmmpLogin(device, { keyProof: true, sequence: 9, version: 0x0301 });
    const found = judged(bytes);
    if (!('granted' in found)) throw new Error('refused');
    const { answer, session, write } = found.granted;
    const frame = oracle.parseWmmp(encodeLoginAnswer(readHeader(bytes), answer));
    const head = { command: 0x8001, sequence: 9, version: 0x0301, security: 0x20, serial: device.serial };
    expect(frame).toMatchObject(head);
    expect(oracle.loginAnswerOf(frame)).toEqual({ result: 0, timestamp: SECONDS });
    const signing = { ...device, timestamp: SECONDS, password: device.downlinkPassword };
    expect(oracle.wmmpDigestIsGood(frame, signing)).toBe(true);
    const ciphertext = frame.tlvs.get(oracle.WMMP_TAG.SESSION_KEY_CIPHERTEXT)!;
    const sessionKey = oracle.openedSessionKey(device.baseKey, ciphertext);
    expect(sessionKey).toEqual(write.sessionKey);
    expect(session.wmmp).toEqual({
      ...{ version: 0x0301, timestamp: SECONDS, sessionKey, unsettled: 0 },
      ...{ wish: 'open', asked: undefined, leaving: false },
    });
  });

  test('without a key it has none, and is no other for it', () => {
    const bytes = oracle.wmmpLogin(device);
    const found = judged(bytes);
    if (!('granted' in found)) throw new Error('refused');
    const frame = oracle.parseWmmp(encodeLoginAnswer(readHeader(bytes), found.granted.answer));
    expect([frame.tlvs.size, frame.digest?.length]).toEqual([0, 16]);
    expect(found.granted.session.wmmp?.sessionKey).toBeUndefined();
  });

  test('the same frame again, whose first coming got no answer, settles nothing', () => {
    const view = { record: recordOf(device, changing({ shown: 'latest' })), row: undefined };
    const of = (isRepeat: boolean) => {
      const found = decideLogin({ ...message(underNew), isRepeat }, view, AROUND, '192.0.2.9');
      return 'granted' in found ? found.granted.write.credentials?.settled : undefined;
    };
    expect([of(false), of(true)]).toEqual([3, undefined]);
  });

  test('every refusal has the same bytes: the frame’s own header, result 2, no time, no digest', () => {
    const bytes = oracle.wmmpLogin(device, { sequence: 9 });
    const { signer } = standing();
    const answers = [{ result: 'AUTH_FAILED' }, { result: 'SUSPENDED', signer }, { result: 'OK' }] as const;
    for (const answer of answers) {
      const frame = oracle.parseWmmp(encodeLoginAnswer(readHeader(bytes), answer));
      expect(frame).toMatchObject({ sequence: 9, security: 0, digest: undefined, length: 33 });
      expect(oracle.loginAnswerOf(frame)).toEqual({ result: 2, timestamp: 0 });
    }
  });
});

describe('frames of a session', () => {
  const { WMMP } = oracle;
  const trap = (at: number | undefined, password: Buffer = device.uplinkPassword) =>
    oracle.uplink(device, WMMP.CONFIG_TRAP, at, Buffer.alloc(0), { password });
  const heartbeat = (at: number, password: Buffer = device.uplinkPassword) =>
    oracle.uplink(device, WMMP.HEARTBEAT, at, Buffer.alloc(0), { password });

  test.each<[string, Buffer, Partial<TerminalRecord>, string | undefined]>([
    ['HEARTBEAT without a digest', oracle.wmmpHeartbeat(device), {}, undefined],
    ['HEARTBEAT with one', heartbeat(SECONDS), {}, undefined],
    ['HEARTBEAT with a wrong one', heartbeat(SECONDS, stranger), {}, 'wrong-digest'],
    ['one over another time', heartbeat(SECONDS + 1), {}, 'wrong-digest'],
    ['one under a new password', heartbeat(SECONDS, PENDING.uplinkPassword), changing({}), undefined],
    ['CONFIG_TRAP', trap(SECONDS), {}, undefined],
    ['CONFIG_TRAP without a digest', trap(undefined), {}, 'no-digest'],
    ['an answer', oracle.securityConfigAnswer(device, SECONDS, 1), {}, undefined],
    ['an answer without a digest', oracle.securityConfigAnswer(device, undefined, 1), {}, 'no-digest'],
  ])('%s', (_name, bytes, record, flaw) => {
    const session = standing(record);
    expect(flawOf(message(bytes), session, session.wmmp!)).toBe(flaw);
  });

  test.each([
    [WMMP.HEARTBEAT, []],
    [WMMP.LOGOUT, []],
    [WMMP.CONFIG_TRAP, [0]],
    [WMMP.REGISTER, [2, ...Array<number>(16).fill(0)]],
    [0x04, [1]],
    [0x0f, [1]],
  ])('command %d is answered with the bytes %j and no digest', (command, body) => {
    const sizes = new Map<number, number>([[WMMP.LOGOUT, 1], [WMMP.REGISTER, 32]]); // prettier-ignore
    const bytes = oracle.uplink(device, command, undefined, Buffer.alloc(sizes.get(command) ?? 0), {
      sequence: 3,
    });
    const frame = encodeAcknowledgement(message(bytes));
    expect([...frame.subarray(28)]).toEqual(body);
    const head = { command: command | 0x8000, sequence: 3, suite: 0, version: 0x0300 };
    expect(readHeader(frame)).toMatchObject(head);
  });
});

const caseOf = (session: Session, unsettled = 0): SessionCase => {
  const around = { ...AROUND, random: (size: number) => Buffer.alloc(size, 1) };
  session.wmmp!.unsettled = unsettled;
  return { session, around, record: session.terminal, entry: 'entry' };
};
const writeOf = (request: SessionCase, decide: typeof decideSettling) => {
  const decision = decide(request);
  return 'write' in decision ? decision.write : undefined;
};

test('a further frame settles what its login was made under; LOGOUT does so too', () => {
  const about = { terminalId: 1, serial: device.serial, revision: 1, replayEntry: 'entry' };
  for (const [decide, kind] of [
    [decideSettling, 'credentials'],
    [decideWmmpLogout, 'logout'],
  ] as const) {
    // prettier-ignore
    const request = caseOf(standing(changing({ shown: 'latest' })), 3);
    expect(decide(request).answer).toEqual({ result: 'OK' });
    const write = writeOf(request, decide)!;
    expect(write).toMatchObject({ ...about, kind, sessionId: request.session.id, sessionKey: undefined });
    expect(write.credentials).toMatchObject({
      settled: 3,
      record: { uplinkPassword: PENDING.uplinkPassword, baseKey: device.baseKey, revision: 2 },
    });
  }
  const nothing = caseOf(standing(changing({})));
  expect(decideSettling(nothing)).toEqual({ answer: { result: 'OK' } });
  expect(writeOf(nothing, decideWmmpLogout)).toMatchObject({ kind: 'logout', credentials: undefined });
});

describe('SECURITY_CONFIG', () => {
  const pendingAfter = (extra: Partial<TerminalRecord>) => {
    const request = caseOf(standing(extra));
    const write = writeOf(request, decideSecurityConfig);
    return write?.credentials?.record.changes.pending;
  };
  const wishing = (wished: number, extra: Partial<TerminalRecord> = {}): Partial<TerminalRecord> => ({
    changes: { ...NO_CHANGES, wished, lastId: 5 },
    ...extra,
  });

  test.each<[number, Partial<TerminalRecord>, number]>([
    [1, {}, 1],
    [2, {}, 3],
    [3, {}, 3],
    [4, {}, 5],
    [6, {}, 7],
    [7, { baseKey: undefined }, 3],
    [7, { baseKey: Buffer.alloc(16) }, 3],
  ])('a wish for %d gives new values of its own form', (wished, extra, targets) => {
    const pending = pendingAfter(wishing(wished, extra))!;
    const { uplinkPassword, downlinkPassword, baseKey, ...rest } = pending;
    expect(rest).toEqual({
      ...{ id: 6, targets, settled: 0, bySms: false, shown: 'never', textAt: undefined },
    });
    const sizes = [uplinkPassword, downlinkPassword, baseKey].map((value) => value?.length ?? 0);
    expect(sizes).toEqual([targets & 1 ? 8 : 0, targets & 2 ? 8 : 0, targets & 4 ? 24 : 0]);
  });

  test.each([
    ['nothing', wishing(0)],
    ['a base key where there is none', wishing(4, { baseKey: undefined })],
  ])('a wish for %s changes nothing', (_name, extra) => {
    const request = caseOf(standing(extra));
    const answer = { result: 'CHANGE_REFUSED', detail: 'nothing-to-change' };
    expect(decideSecurityConfig(request)).toEqual({ answer });
  });

  test('is committed before it leaves', () => {
    const decision = decideSecurityConfig(caseOf(standing(wishing(7))));
    expect(decision).toMatchObject({
      answer: { result: 'OK', detail: 'by-security-config' },
      write: { kind: 'credentials', credentials: { settled: 0, text: undefined, record: { revision: 2 } } },
    });
  });

  test.each<[string, Partial<PendingChange>, number, number]>([
    ['what was sent before', {}, 7, 5],
    ['what was sent by text', { bySms: true }, 7, 6],
    ['of other targets, and shown by nobody', { targets: 3, baseKey: undefined }, 7, 6],
    ['of other targets, and shown', { targets: 3, baseKey: undefined, shown: 'earlier' }, 7, 5],
    ['of another form', { uplinkPassword: Buffer.alloc(16) }, 7, 6],
    ['of another form of key', { baseKey: Buffer.alloc(16) }, 7, 6],
    ['of another form, and shown', { uplinkPassword: Buffer.alloc(16), shown: 'latest' }, 7, 5],
  ])('goes once more or anew: %s', (_name, pending, wished, id) => {
    expect(pendingAfter(changing(pending, wished))?.id).toBe(id);
  });

  test('goes once more where there is no base key', () => {
    const again = changing({ targets: 3, baseKey: undefined }, 3);
    expect(pendingAfter({ ...again, baseKey: undefined })?.id).toBe(5);
  });

  test.each([1, 2, 3, 4, 7])('carries the values of targets %d, and no others', (targets) => {
    const of = <T>(target: number, value: T) => ((targets & target) === 0 ? undefined : value);
    const change: PendingChange = {
      ...{ ...PENDING, targets, baseKey: of(4, PENDING.baseKey) },
      ...{ uplinkPassword: of(1, PENDING.uplinkPassword) },
      ...{ downlinkPassword: of(2, PENDING.downlinkPassword) },
    };
    const session = standing();
    const sessionKey = keyOf(Buffer.alloc(16, 0x44));
    const wmmp = { ...session.wmmp!, version: 0x0301 };
    const frame = oracle.parseWmmp(encodeSecurityConfig(session, wmmp, sessionKey, 12, change));
    const head = { command: 0x0e, sequence: 12, version: 0x0301, security: 0xf0, serial: device.serial };
    expect(frame).toMatchObject(head);
    const signing = { ...device, timestamp: SECONDS, password: device.downlinkPassword };
    expect(oracle.wmmpDigestIsGood(frame, signing)).toBe(true);
    const { uplinkPassword, downlinkPassword, baseKey } = change;
    expect(oracle.openedSecurityConfig(sessionKey, frame)).toEqual({
      ...(uplinkPassword && { uplinkPassword }),
      ...(downlinkPassword && { downlinkPassword }),
      ...(baseKey && { baseKey }),
    });
  });
});
