/** Answers and downlink requests as bytes, read by the oracle: which TLVs, signed under what, and when not at all. */
import {
  encodeAnswer,
  encodeDisconnect,
  encodeNotice,
  encodeUnsignedDisconnect,
} from '../../../src/platform/flows/answer';
import { decoyRecord } from '../../../src/platform/flows/decoy';
import type { Answer } from '../../../src/platform/model';
import { readHeader } from '../../../src/protocol/header';
import { newTerminal } from '../../support/operator';
import * as oracle from '../../support/oracle';
import { recordOf, sessionOf } from '../../support/rooms';

const { COMMAND, RESPONSE, RESULT, TAG } = oracle;
const SECONDS = 1_800_000_008;
const LATE = SECONDS * 1000 + 999;
const device = newTerminal();
const session = sessionOf(recordOf(device), { suite: 2 });
const { signer } = session;
const names = new Map<number, string>(Object.entries(TAG).map(([name, tag]) => [tag, name]));
const tagsOf = ({ tlvs }: oracle.Parsed) => [...tlvs.keys()].map((tag) => names.get(tag)).join(' ');

const asked = oracle.sessionKey(device, { suite: 2, sequence: 0xfffffffe, at: SECONDS });
function answered(bytes: Buffer, answer: Answer): oracle.Parsed {
  return oracle.parse(encodeAnswer(readHeader(bytes), oracle.parse(bytes).digest, answer, LATE));
}

const KEY = { sessionId: Buffer.alloc(8, 1), sessionKey: Buffer.alloc(24, 2) };

test.each<[string, Answer, string]>([
  ['OK', { result: 'OK', signer, fields: KEY }, 'TIMESTAMP REQUEST_DIGEST SESSION_ID SESSION_KEY'],
  ['a refusal', { result: 'REPLAY', signer, fields: KEY }, 'TIMESTAMP REQUEST_DIGEST'],
  [
    'one that waits for a text',
    { result: 'WAIT_FOR_SMS', signer, fields: KEY },
    'TIMESTAMP REQUEST_DIGEST SESSION_ID SESSION_KEY',
  ],
])('signed: %s', (_name, answer, tags) => {
  const frame = answered(asked, answer);
  expect(oracle.downlinkFlaw(frame, device, asked)).toBeUndefined();
  expect(frame).toMatchObject({ result: RESULT[answer.result], serial: device.serial, version: 0x0400 });
  expect(tagsOf(frame)).toBe(tags);
  expect(oracle.timestampOf(frame)).toBe(SECONDS);
});

test.each<[string, Buffer, Answer, string]>([
  ['a result that is never signed', asked, { result: 'AUTH_FAILED', signer }, ''],
  ['nobody to sign for', asked, { result: 'REPLAY' }, ''],
  ['no digest in the request', oracle.request(device, { command: COMMAND.LOGIN, suite: 0 }),
    { result: 'REPLAY', signer }, ''], // prettier-ignore
  ['BUSY says when to come back', asked, { result: 'BUSY', fields: { retryAfter: 2500 } }, 'RETRY_AFTER'],
  ['nothing else is told', asked, { result: 'THROTTLED', fields: { ...KEY, retryAfter: 1 } }, 'RETRY_AFTER'],
])('unsigned: %s', (_name, bytes, answer, tags) => {
  const frame = answered(bytes, answer);
  expect(frame).toMatchObject({ suite: 0, digest: undefined, result: RESULT[answer.result] });
  expect(frame.command).toBe(oracle.parse(bytes).command | RESPONSE);
  expect(tagsOf(frame)).toBe(tags);
});

test('a challenge is answered unsigned, with all that it asks for', () => {
  const bytes = oracle.authChallenge(Buffer.alloc(16, 1))(device, { sequence: 9 });
  const fields = { serverNonce: Buffer.alloc(16, 2), timestamp: SECONDS, firstCode: Buffer.alloc(32, 3) };
  const frame = answered(bytes, { result: 'OK', fields });
  expect(frame).toMatchObject({ suite: 0, digest: undefined, result: 0, sequence: 9 });
  expect(tagsOf(frame)).toBe('SERVER_NONCE TIMESTAMP FIRST_CODE');
});

test('an answer to a command that nobody knows says so and no more', () => {
  const bytes = oracle.buildFrame({ command: 0x0777, serial: device.serial });
  expect(tagsOf(answered(bytes, { result: 'OK', fields: KEY }))).toBe('');
});

const sessionId = Buffer.from(session.id, 'hex');

test.each([undefined, 2500])('DISCONNECT of a session, to come back after %p', (retryAfter) => {
  const bytes = encodeDisconnect(session, 3, 'shutting-down', LATE, retryAfter)!;
  const frame = oracle.parse(bytes);
  expect(oracle.downlinkFlaw(frame, device)).toBeUndefined();
  const head = { command: COMMAND.DISCONNECT, sequence: 3, serial: device.serial, suite: 2, result: 0 };
  expect(frame).toMatchObject(head);
  expect([...frame.tlvs]).toEqual([
    [TAG.TIMESTAMP, oracle.u32(SECONDS)],
    [TAG.SESSION_ID, sessionId],
    [TAG.DISCONNECT_REASON, oracle.u8(4)],
    ...(retryAfter === undefined ? [] : [[TAG.RETRY_AFTER, oracle.u32(retryAfter)]]),
  ]);
});

test('WMMP has no word for it', () => {
  const wmmp = sessionOf(recordOf(device), { wmmp: SECONDS });
  expect(encodeDisconnect(wmmp, 3, 'shutting-down', LATE)).toBeUndefined();
});

test.each([undefined, 2500])('DISCONNECT before a login, to come back after %p', (retryAfter) => {
  const frame = oracle.parse(encodeUnsignedDisconnect(1, 'protocol-error', retryAfter));
  expect(frame).toMatchObject({ command: COMMAND.DISCONNECT, sequence: 1, suite: 0, serial: '' });
  expect([...frame.tlvs]).toEqual([
    [TAG.DISCONNECT_REASON, oracle.u8(6)],
    ...(retryAfter === undefined ? [] : [[TAG.RETRY_AFTER, oracle.u32(retryAfter)]]),
  ]);
});

test.each([1, 2])('CREDENTIAL_NOTICE in suite %d, and the digest that its answer names', (suite) => {
  const { bytes, digest } = encodeNotice(sessionOf(recordOf(device), { suite }), 7, 5, LATE);
  const frame = oracle.parse(bytes);
  expect(oracle.downlinkFlaw(frame, device)).toBeUndefined();
  expect(frame).toMatchObject({ command: COMMAND.CREDENTIAL_NOTICE, sequence: 7, suite });
  expect(digest).toEqual(frame.digest);
  expect([...frame.tlvs]).toEqual([
    [TAG.TIMESTAMP, oracle.u32(SECONDS)],
    [TAG.SESSION_ID, sessionId],
    [TAG.CHANGE_TARGETS, oracle.u8(5)],
  ]);
});

test('a decoy is a terminal like others, whose passwords nobody knows', () => {
  let drawn = 0;
  const decoy = decoyRecord((size) => Buffer.alloc(size, ++drawn));
  expect(decoy).toMatchObject({ status: 'active', leastLogin: 'wmmp3', baseKey: undefined });
  expect(decoy.uplinkPassword).toEqual(Buffer.alloc(16, 1));
  expect(decoy.downlinkPassword).toEqual(Buffer.alloc(16, 2));
  // A digest takes as long as that of a terminal whose IMEI and IMSI have 15 digits.
  expect([decoy.imei, decoy.imsi].map(({ length }) => length)).toEqual([15, 15]);
});
