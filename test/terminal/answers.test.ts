import { judgeAnswer, LONGEST_RETRY_MS, type Answer, type RefusalName } from '../../src/terminal/answers';
import { readHeader } from '../../src/protocol/header';
import { heartbeatRequest, loginRequest, type Asked } from '../../src/terminal/requests';
import { judgeDownlink, openSession } from '../../src/terminal/session';
import { NO_SPARES, type DeviceState } from '../../src/terminal/state';
import {
  disconnect,
  sessionTlvs,
  signedAnswer,
  TERMINAL,
  unsignedAnswer,
  wrappedKey,
  type Twist,
} from '../support/fakeGateway';
import { buildFrame, COMMAND, parse, RESPONSE, RESULT, SUITE, TAG, u32 } from '../support/oracle';
import { bytesOf, terminalOf, VARIANTS, vector } from '../support/vectors';

const AT = 1_800_000_000_000;
const device: DeviceState = { ...TERMINAL, suite: 2, nextSequence: 0, clockOffset: 0, spares: NO_SPARES };
const moment = { sequence: 9, time: AT / 1000, explicit: true };
const key = Buffer.alloc(16, 5);

const judge = (asked: Asked, bytes: Buffer, elapsed = 20): Answer =>
  judgeAnswer(asked, { header: readHeader(bytes), bytes, elapsed, at: AT });

describe('vectors', () => {
  test.each(VARIANTS)('a login is answered with a session key %s', (variant) => {
    const question = vector('LOGIN explicit timestamp, identity claimed, key asked', variant);
    const response = vector('LOGIN response OK with session key', variant);
    const state = { ...terminalOf(question), nextSequence: 0, clockOffset: 0, spares: NO_SPARES };
    const at = { sequence: 7, time: question.timestamp, explicit: true };
    const asked = loginRequest(state, at, { sessionKey: true, identity: true, firmware: 'fw 2.1.0' });
    const answer = judge(asked, bytesOf(response));
    if (answer.kind !== 'signed') throw new Error(JSON.stringify(answer));
    const session = openSession(asked, answer);
    expect(session?.key?.toString('hex')).toBe(response.sessionKey);
    expect(session?.id.toString('hex')).toBe(response.sessionId);
    const sent = bytesOf(vector('DISCONNECT shutting down, with RETRY_AFTER', variant));
    expect(judgeDownlink(session, { header: readHeader(sent), bytes: sent })).toEqual({
      kind: 'disconnect',
      signed: true,
      reason: 'shutting-down',
      retryAfter: 7500,
    });
  });
});

describe('signed answers', () => {
  const asked = heartbeatRequest(device, moment);
  const question = parse(asked.frame);
  const right = (twist: Twist = {}): Buffer => signedAnswer(TERMINAL, question, { at: AT / 1000, ...twist });

  test('a right one is believed and tells the time', () => {
    expect(judge(asked, right({ at: AT / 1000 + 40 }))).toMatchObject({
      kind: 'signed',
      result: 'OK',
      clockOffset: 40,
    });
  });

  test('one that came after 30 s does not set the clock', () => {
    expect(judge(asked, right({ at: 1 }), 30_001)).toMatchObject({ kind: 'signed', clockOffset: undefined });
  });

  const WRONG: [why: string, reason: RefusalName, twist: Twist][] = [
    ['wrong digest', 'wrong-digest', { password: Buffer.from('other') }],
    ['uplink password', 'wrong-digest', { password: TERMINAL.uplinkPassword }],
    ['weaker suite', 'other-suite', { suite: SUITE.MD5 }],
    ['other sequence', 'other-request', { sequence: 10 }],
    ['other command', 'other-request', { command: COMMAND.LOGOUT | RESPONSE }],
    ['other serial', 'other-request', { serial: 'T100-OTHER' }],
    ['other REQUEST_DIGEST', 'other-request-digest', { requestDigest: Buffer.alloc(32) }],
    ['unknown result', 'undecodable', { result: 99 }],
    ['signed BUSY', 'undecodable', { result: RESULT.BUSY }],
  ];
  test.each(WRONG)('%s: %s', (_, reason, twist) => {
    expect(judge(asked, right(twist))).toMatchObject({ kind: 'refused', reason });
  });

  test('one altered bit anywhere makes it no answer', () => {
    const frame = right();
    for (let at = 0; at < frame.length; at++) {
      const altered = Buffer.from(frame);
      altered[at]! ^= 1;
      // The length is the framer's to judge.
      if (at > 1) expect([at, judge(asked, altered).kind]).toEqual([at, 'refused']);
    }
  });

  test('pending credentials: the answer may be signed under the other password', () => {
    const pending = { ...asked, downlinkPasswords: [Buffer.from('new'), TERMINAL.downlinkPassword] };
    expect(judge(pending, right())).toMatchObject({ downlinkPassword: TERMINAL.downlinkPassword });
  });
});

describe('unsigned answers', () => {
  const asked = heartbeatRequest(device, moment);
  const question = parse(asked.frame);

  test('mean "try later", and a year is cut to 15 minutes', () => {
    const year = unsignedAnswer(question, RESULT.BUSY, (365 * 86_400_000) & 0xffffffff);
    const busy = unsignedAnswer(question, RESULT.BUSY, 0xffffffff);
    expect(judge(asked, busy)).toEqual({ kind: 'unsigned', result: 'BUSY', retryAfter: LONGEST_RETRY_MS });
    expect(judge(asked, year)).toMatchObject({ retryAfter: LONGEST_RETRY_MS });
    expect(judge(asked, unsignedAnswer(question, RESULT.THROTTLED, 1500))).toMatchObject({
      retryAfter: 1500,
    });
    expect(LONGEST_RETRY_MS).toBe(900_000);
  });

  test('never mean OK or anything else that is always signed', () => {
    for (const result of [RESULT.BINDING_MISMATCH, RESULT.SUSPENDED, RESULT.CLOCK_SKEW, RESULT.REPLAY]) {
      expect(judge(asked, unsignedAnswer(question, result)).kind).toBe('refused');
    }
    const tlvs = [
      [TAG.TIMESTAMP, u32(AT / 1000)],
      [TAG.REQUEST_DIGEST, asked.digest],
    ] as const;
    const ok = buildFrame({
      command: COMMAND.HEARTBEAT | RESPONSE,
      serial: TERMINAL.serial,
      sequence: 9,
      tlvs,
    });
    expect(judge(asked, ok)).toMatchObject({ kind: 'refused', reason: 'signature-missing' });
  });
});

describe('session keys', () => {
  const wishes = { sessionKey: true, identity: true, firmware: undefined };
  const asked = loginRequest(device, moment, wishes);
  const question = parse(asked.frame);
  const answer = (tlvs: Twist['tlvs'] = []): Answer =>
    judge(asked, signedAnswer(TERMINAL, question, { tlvs: [...sessionTlvs(), ...tlvs] }));

  test('are opened under the base key', () => {
    expect(answer([wrappedKey(TERMINAL, key)])).toMatchObject({ kind: 'signed', sessionKey: key });
  });

  test('are owed where asked for, of the base key and of its size', () => {
    expect(answer()).toMatchObject({ reason: 'key-missing' });
    const other = { ...TERMINAL, baseKey: Buffer.alloc(16, 1) };
    expect(answer([wrappedKey(other, key)])).toMatchObject({ reason: 'key-unreadable' });
    expect(answer([wrappedKey(TERMINAL, Buffer.alloc(32, 5))])).toMatchObject({ reason: 'key-unreadable' });
  });
});

describe('requests of the gateway', () => {
  const asked = loginRequest(device, moment, { sessionKey: false, identity: true, firmware: undefined });
  const opened = judge(asked, signedAnswer(TERMINAL, parse(asked.frame), { tlvs: sessionTlvs() }));
  const session = opened.kind === 'signed' ? openSession(asked, opened) : undefined;
  const obey = (bytes: Buffer, within = session) =>
    judgeDownlink(within, { header: readHeader(bytes), bytes });

  test('count where they are signed within the session', () => {
    expect(obey(disconnect(TERMINAL, 1))).toMatchObject({
      kind: 'disconnect',
      reason: 'superseded',
      signed: true,
    });
  });

  test('are dropped otherwise', () => {
    const password = Buffer.from('other');
    expect(obey(disconnect(TERMINAL, 2, undefined, { password }))).toMatchObject({ reason: 'wrong-digest' });
    expect(obey(disconnect(TERMINAL, 2, undefined, { suite: SUITE.MD5 }))).toMatchObject({
      reason: 'other-suite',
    });
    expect(obey(disconnect(TERMINAL, 2, undefined, { suite: 0 }))).toMatchObject({
      reason: 'signature-missing',
    });
    const other = session && { ...session, id: Buffer.alloc(8) };
    expect(obey(disconnect(TERMINAL, 2), other)).toMatchObject({ reason: 'other-session' });
  });

  test('outside a session only mean "try later"', () => {
    const bytes = disconnect(TERMINAL, 4, 0xffffffff, { suite: 0 });
    expect(judgeDownlink(undefined, { header: readHeader(bytes), bytes })).toEqual({
      kind: 'disconnect',
      signed: false,
      reason: 'shutting-down',
      retryAfter: LONGEST_RETRY_MS,
    });
    const signed = disconnect(TERMINAL, 2);
    expect(judgeDownlink(undefined, { header: readHeader(signed), bytes: signed })).toMatchObject({
      reason: 'no-session',
    });
  });
});
