/**
 * Every vector cut at every byte, and with every single bit the other way: nothing throws, and what a digest covers
 * is taken as it was signed or not at all, by the gateway as by a terminal.
 */
import { inspectFrame, frameText } from '../../src/cli/inspectFrame';
import { readCredentialText } from '../../src/crypto/credentialText';
import type { Challenge, TerminalRecord } from '../../src/platform/model';
import { readHeader } from '../../src/protocol/header';
import { Framer } from '../../src/protocol/framer';
import { downlinkJudge } from '../../src/protocol/judgeDownlink';
import { judgeAnswer } from '../../src/terminal/answers';
import type { Asked } from '../../src/terminal/requests';
import { judgeDownlink, type Session as DeviceSession } from '../../src/terminal/session';
import * as oracle from '../support/oracle';
import { COMMAND, RESPONSE, TAG } from '../support/oracle';
import { newTerminal } from '../support/operator';
import { AROUND, outcomes, recordOf, sessionOf, TAKEN, type Scene } from '../support/rooms';
import { bytesOf, terminalOf, vectors, type Vector } from '../support/vectors';
import { securityConfigAnswer, uplink, WMMP, wmmpLogin, wmmpLogout } from '../support/wmmpOracle';

/** A frame with one bit the other way, each in turn. The copy is the same one every time. */
function* bitsOf(frame: Buffer): Generator<{ changed: Buffer; bit: number }> {
  const changed = Buffer.from(frame);
  for (let bit = 0; bit < frame.length * 8; bit++) {
    changed[bit >> 3]! ^= 1 << (bit & 7);
    yield { changed, bit };
    changed[bit >> 3]! ^= 1 << (bit & 7);
  }
}

/** The beginning of a frame, as it is and with a length that says so. */
function* cutsOf(frame: Buffer): Generator<Buffer> {
  for (let size = 0; size < frame.length; size++) {
    const cut = Buffer.from(frame.subarray(0, size));
    yield cut;
    if (size < 2) continue;
    cut.writeUInt16BE(size);
    yield cut;
  }
}

const variantsOf = function* (frame: Buffer): Generator<Buffer> {
  for (const { changed } of bitsOf(frame)) yield changed;
  yield* cutsOf(frame);
};

const hex = (text: string) => Buffer.from(text, 'hex');
const frames = vectors.filter(({ what, hex: bytes }) => bytes !== undefined && what !== 'bad request');
const ofSame = ({ terminal }: Vector) => frames.filter((one) => one.terminal.serial === terminal.serial);

interface Values {
  readonly changeId: number;
  readonly newUplinkPassword: string;
  readonly newDownlinkPassword: string;
  readonly newBaseKey: string;
}

/** The record as the vectors of its terminal take it for given, with the change pending that they confirm. */
function recordFor(vector: Vector): TerminalRecord {
  const { changeId, newUplinkPassword, newDownlinkPassword, newBaseKey } = ofSame(vector).find(
    (one) => 'newBaseKey' in one,
  ) as unknown as Values;
  const isConfirm = bytesOf(vector).readUInt16BE(2) === COMMAND.CREDENTIAL_CONFIRM;
  const pending = {
    ...{ id: changeId, targets: 7, settled: 0, bySms: false, shown: 'never' as const, textAt: undefined },
    uplinkPassword: hex(newUplinkPassword),
    downlinkPassword: hex(newDownlinkPassword),
    baseKey: hex(newBaseKey),
  };
  return recordOf(terminalOf(vector), {
    leastLogin: 'md5',
    changes: { wished: 0, lastId: changeId, pending: isConfirm ? pending : undefined, confirmed: undefined },
  });
}

interface Proof {
  readonly packetKey: string;
  readonly packetKeyId: string;
  readonly serverNonce: string;
  readonly firstCode: string;
}

/** What the gateway knows when this vector comes. */
function sceneOf(vector: Vector): Scene {
  const record = recordFor(vector);
  const bytes = bytesOf(vector);
  const { packetKey, packetKeyId, serverNonce, firstCode } = vector as unknown as Proof;
  const isProof = packetKey !== undefined;
  const keys = new Map(isProof ? [[packetKeyId, { id: packetKeyId, key: hex(packetKey) }]] : []);
  const challenge: Challenge | undefined = isProof
    ? { serial: bytes.subarray(12, 28), serverNonce: hex(serverNonce), firstCode: hex(firstCode) }
    : undefined;
  const { suite, sequence, tlvs } = oracle.parse(bytes);
  const notice = { sequence, digest: tlvs.get(TAG.REQUEST_DIGEST) ?? Buffer.alloc(16) };
  return {
    record,
    around: { ...AROUND, now: (vector.timestamp ?? 1_800_000_008) * 1000, packetKeys: () => keys },
    challenge,
    session: () => ({ ...sessionOf(record, { suite, lastSequence: sequence - 1 }), notice }),
  };
}

function expected({ name }: Vector): string {
  if (name.startsWith('LOGIN that claims another IMSI')) return 'BINDING_MISMATCH';
  if (name.startsWith('CREDENTIAL_NOTICE answered')) return 'heard';
  return name.startsWith('AUTH_CHALLENGE') ? 'challenged' : 'OK';
}

/** Variants of a frame that are taken, or of which any frame that comes out is. */
function takenOf(scene: Scene, frame: Buffer): string[] {
  const found: string[] = [];
  for (const variant of variantsOf(frame)) {
    const came = outcomes(scene, variant);
    if (came.some((one) => TAKEN.has(one))) found.push(`${came.join()}: ${variant.toString('hex')}`);
  }
  return found;
}

const uplinks = frames.filter(({ what }) => what === 'request');

test.each(uplinks)('the gateway: $name', (vector) => {
  const scene = sceneOf(vector);
  expect(outcomes(scene, bytesOf(vector))).toEqual([expected(vector)]);
  expect(takenOf(scene, bytesOf(vector))).toEqual([]);
});

test.each(uplinks)('the gateway before a login: $name', (vector) => {
  const scene = { ...sceneOf(vector), session: undefined };
  expect(takenOf(scene, bytesOf(vector))).toEqual([]);
});

test.each(vectors.filter(({ what }) => what === 'bad request'))('the gateway: $name', (vector) => {
  const scene = sceneOf(uplinks[0]!);
  expect(takenOf(scene, bytesOf(vector))).toEqual([]);
});

const module3 = { ...newTerminal(), baseKey: Buffer.alloc(24, 7) };
const AT = 1_800_000_000;
const wmmpFrames: [string, Buffer][] = [
  ['LOGIN', wmmpLogin(module3)],
  ['LOGIN with key asked, 3.1', wmmpLogin(module3, { keyProof: true, version: 0x0301 })],
  ['LOGIN with a TLV of its own', wmmpLogin(module3, { tlvs: [[0x3006, Buffer.alloc(5)]] })],
  ['LOGOUT', wmmpLogout(module3, AT)],
  [
    'CONFIG_TRAP',
    uplink(module3, WMMP.CONFIG_TRAP, AT, Buffer.alloc(0), { tlvs: [[0x3007, Buffer.alloc(3)]] }),
  ],
  ['a command of unknown layout', uplink(module3, 0x0a, AT, Buffer.alloc(9))],
  ['SECURITY_CONFIG answered', securityConfigAnswer(module3, AT, 5, { result: 2, tags: [0xe025] })],
];

test.each(wmmpFrames)('the gateway, WMMP 3.0: %s', (_name, frame) => {
  const record = recordOf(module3);
  const scene: Scene = { record, around: AROUND, session: () => sessionOf(record, { wmmp: AT }) };
  expect(outcomes(scene, frame)).toEqual(['OK']);
  expect(takenOf(scene, frame)).toEqual([]);
});

/** What a terminal asked, as far as judging the answer needs it. */
function askedOf(vector: Vector): Asked {
  const { sequence, command, tlvs } = oracle.parse(bytesOf(vector));
  const terminal = terminalOf(vector);
  const name = Object.entries(COMMAND).find(([, code]) => code === (command & ~RESPONSE))![0];
  const { signedWith, imsi } = vector as Vector & { signedWith?: string; imsi?: string };
  const password = signedWith === undefined ? terminal.downlinkPassword : hex(signedWith);
  return {
    command: name as Asked['command'],
    frame: Buffer.alloc(0),
    sequence,
    suite: terminal.suite,
    serial: bytesOf(vector).subarray(12, 28),
    digest: tlvs.get(TAG.REQUEST_DIGEST) ?? Buffer.alloc(16),
    imei: terminal.imei,
    imsi: imsi ?? terminal.imsi,
    downlinkPasswords: [password],
    uplinkPassword: terminal.uplinkPassword,
    baseKey: terminal.baseKey,
    owedSessionKey: vector.sessionKey !== undefined,
  };
}

function deviceSession(vector: Vector): DeviceSession {
  const { serial, imei, imsi, suite, downlinkPassword } = { ...askedOf(vector), ...terminalOf(vector) };
  const id = oracle.parse(bytesOf(vector)).tlvs.get(TAG.SESSION_ID)!;
  const numbers = { ttl: 3600, heartbeatInterval: 60, wishedChange: 0, key: undefined };
  return { ...numbers, id, suite, serial: oracle.paddedSerial(serial), imei, imsi, downlinkPassword };
}

/** As a terminal reads it: `signed`, `unsigned`, `notice`, `disconnect`, `refused`, or nothing for no whole frame. */
function heard(vector: Vector, bytes: Buffer): string {
  const [event] = new Framer(downlinkJudge(4096)).push(bytes);
  if (event === undefined) return 'nothing';
  if (event.kind === 'refused') return 'refused';
  const { header } = event;
  if (vector.what === 'downlink request') return judgeDownlink(deviceSession(vector), event).kind;
  return judgeAnswer(askedOf(vector), { header, bytes: event.bytes, elapsed: 1, at: AT }).kind;
}

const SIGNED = ['signed', 'notice', 'disconnect'];
const signedDown = frames.filter(
  (vector) => vector.what !== 'request' && oracle.parse(bytesOf(vector)).digest !== undefined,
);

test.each(signedDown)('a terminal: $name', (vector) => {
  const bytes = bytesOf(vector);
  expect(SIGNED).toContain(heard(vector, bytes));
  const taken: string[] = [];
  for (const variant of variantsOf(bytes))
    if (SIGNED.includes(heard(vector, variant))) taken.push(variant.toString('hex'));
  expect(taken).toEqual([]);
});

/** The other variants differ in sizes alone. */
const shown = frames.filter(({ name }) => name.endsWith('(suite 2, 256-bit base key)'));

test.each(shown)('m2m inspect says something of each: $name', (vector) => {
  const { imei, imsi, uplinkPassword, downlinkPassword, baseKey } = terminalOf(vector);
  const known = { imei, imsi, uplinkPassword, downlinkPassword, baseKey, timestamp: undefined, around: AT };
  for (const variant of variantsOf(bytesOf(vector))) {
    const found = inspectFrame(variant, 0, undefined, known);
    if (found.fault === undefined && found.frame === undefined) throw new Error(variant.toString('hex'));
    if (found.digest?.verdict === 'good') throw new Error(`good: ${variant.toString('hex')}`);
    if (frameText(found) === '') throw new Error(`no text: ${variant.toString('hex')}`);
  }
});

test.each(vectors.filter(({ what }) => what === 'sms'))('a text: $name', (vector) => {
  const { text, changeId } = vector as Vector & { text: string; changeId: number };
  const { suite, imei, imsi, downlinkPassword } = terminalOf(vector);
  const context = { suite, changeId, imei, imsi, downlinkPassword };
  const isTaken = (bytes: Buffer) =>
    typeof readCredentialText(bytes.toString('latin1'), context) !== 'string';
  const bytes = Buffer.from(text, 'latin1');
  expect(isTaken(bytes)).toBe(true);
  for (const { changed, bit } of bitsOf(bytes)) expect([bit, isTaken(changed)]).toEqual([bit, false]);
  for (let size = 0; size < bytes.length; size++) expect(isTaken(bytes.subarray(0, size))).toBe(false);
});

test('no vector was left out', () => {
  expect([uplinks.length, signedDown.length, shown.length]).toEqual([44, 48, 26]);
  expect(frames).toHaveLength(104);
  expect(readHeader(bytesOf(frames[0]!)).length).toBe(130);
});
