/**
 * A second, independent implementation of protocol version 4.0 for tests: written from the protocol's page with
 * numbers of its own, it imports nothing from src/. What it builds may be wrong on purpose; what it reads must be
 * right, or it throws.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { noteSecret } from './secrets';

// prettier-ignore
export const TAG = {
  TIMESTAMP: 0xf001, IMEI: 0xe00e, IMSI: 0xe012, FIRMWARE: 0xf002, SESSION_KEY_REQUEST: 0xf003,
  BASE_KEY_DIGEST: 0xe03a, SESSION_ID: 0xf010, SESSION_KEY: 0xe03b, SESSION_TTL: 0xf011,
  HEARTBEAT_INTERVAL: 0xf012, RETRY_AFTER: 0xf013, REQUEST_DIGEST: 0xf014, CHANGE_TARGETS: 0xf020,
  CHANGE_DELIVERY: 0xf021, CHANGE_ID: 0xf022, NEW_UPLINK_PASSWORD: 0xe025, NEW_DOWNLINK_PASSWORD: 0xe028,
  NEW_BASE_KEY: 0xe036, CLIENT_NONCE: 0xf030, SERVER_NONCE: 0xf031, FIRST_CODE: 0xf032, THIRD_CODE: 0xf033,
  CREDENTIAL_PACKET: 0xf034, HARDWARE_ID: 0xf035, DISCONNECT_REASON: 0xf040, DIGEST: 0xe021,
} as const;
// prettier-ignore
export const COMMAND = {
  LOGIN: 0x01, LOGOUT: 0x02, HEARTBEAT: 0x03, SESSION_KEY: 0x41, CREDENTIAL_CHANGE: 0x42, CREDENTIAL_CONFIRM: 0x43,
  CREDENTIAL_NOTICE: 0x44, AUTH_CHALLENGE: 0x45, AUTH_PROOF: 0x46, DISCONNECT: 0x47,
} as const;
export const RESPONSE = 0x8000;
// prettier-ignore
export const RESULT = {
  OK: 0, AUTH_FAILED: 1, BINDING_MISMATCH: 2, SUSPENDED: 3, CLOCK_SKEW: 4, REPLAY: 5, BUSY: 6, MALFORMED: 7,
  UNSUPPORTED_VERSION: 8, UNSUPPORTED_SUITE: 9, NOT_LOGGED_IN: 10, BASE_KEY_MISMATCH: 11, WAIT_FOR_SMS: 12,
  CHANGE_REFUSED: 13, THROTTLED: 14, INTERNAL: 15,
} as const;
export const SUITE = { NONE: 0, MD5: 1, HMAC: 2 } as const;

export type Tlv = readonly [tag: number, value: Buffer];

export interface Identity {
  readonly imei: string;
  readonly imsi: string;
}

/** What a terminal and the platform's record of it both hold. */
export interface Terminal extends Identity {
  readonly serial: string;
  readonly uplinkPassword: Buffer;
  readonly downlinkPassword: Buffer;
  readonly baseKey: Buffer;
}

export interface Signing extends Identity {
  readonly timestamp: number;
  readonly password: Buffer;
}

export const u8 = (value: number): Buffer => Buffer.of(value);
export const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 255);
export const u32 = (value: number): Buffer => Buffer.from(value.toString(16).padStart(8, '0'), 'hex');
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const md5 = (...parts: Buffer[]): Buffer => createHash('md5').update(Buffer.concat(parts)).digest();
const hmac = (key: Buffer, ...parts: Buffer[]): Buffer =>
  createHmac('sha256', key).update(Buffer.concat(parts)).digest();

export const paddedSerial = (serial: string | Buffer): Buffer =>
  typeof serial === 'string' ? Buffer.concat([ascii(serial)], 16) : serial;
export const now = (): number => Math.floor(Date.now() / 1000);
export const tlv = ([tag, value]: Tlv): Buffer => Buffer.concat([u16(tag), u16(value.length), value]);

export function frameDigest(suite: number, covered: Buffer, { timestamp, imei, imsi, password }: Signing) {
  const signed = Buffer.concat([covered, u32(timestamp), ascii(imei), ascii(imsi)]);
  return suite === SUITE.MD5 ? md5(signed, password) : hmac(password, signed);
}

export function baseKeyDigest(suite: number, serial: string, timestamp: number, baseKey: Buffer): Buffer {
  const text = Buffer.concat([ascii('base key'), paddedSerial(serial), u32(timestamp)]);
  return suite === SUITE.MD5 ? md5(text, baseKey) : hmac(baseKey, text).subarray(0, 16);
}

/** Defaults: what is right for the rest; `digest` null: none. */
export interface FrameParts {
  readonly command: number;
  readonly serial: string | Buffer;
  readonly sequence?: number;
  readonly version?: number;
  readonly suite?: number;
  readonly result?: number;
  readonly length?: number;
  readonly tlvs?: readonly Tlv[];
  readonly sign?: Signing;
  readonly digest?: Buffer | null;
}

const digestSize = (suite: number): number => [0, 16, 32][suite] ?? 0;

/** Lays out any frame, right or wrong. It is signed where `sign` is there and the suite is 1 or 2. */
export function buildFrame(parts: FrameParts): Buffer {
  const { sequence = 1, version = 0x0400, suite = SUITE.NONE, result = 0, digest, sign } = parts;
  const body = Buffer.concat((parts.tlvs ?? []).map(tlv));
  const room = digest === undefined && sign ? digestSize(suite) : (digest?.length ?? 0);
  const trailer = digest || room > 0 ? room + 4 : 0;
  const length = parts.length ?? 28 + body.length + trailer;
  const head = [u16(length), u16(parts.command), u32(sequence), u16(version), u8(suite), u8(result)];
  const covered = Buffer.concat([...head, paddedSerial(parts.serial), body]);
  if (trailer === 0) return covered;
  return Buffer.concat([covered, tlv([TAG.DIGEST, digest ?? frameDigest(suite, covered, sign!)])]);
}

export interface RequestOptions {
  readonly command: number;
  readonly sequence?: number;
  /** Default: HMAC. */
  readonly suite?: number;
  /** Unix seconds; default: this machine's clock. */
  readonly at?: number;
  /** No TIMESTAMP in the frame; `at` floored to 60 s under the digest. */
  readonly implicit?: boolean;
  /** IMEI and IMSI in the frame: the terminal's own (true) or others. */
  readonly claim?: boolean | Identity;
  /** BASE_KEY_DIGEST: under the terminal's base key (true) or another. */
  readonly keyProof?: boolean | Buffer;
  /** SESSION_KEY_REQUEST, for which a `keyProof` is right too. */
  readonly askKey?: boolean;
  /** Between the identity and the key request. */
  readonly tlvs?: readonly Tlv[];
  /** Default: the uplink password. */
  readonly password?: Buffer;
  /** Overrides any part of the frame, as the last word. */
  readonly frame?: Partial<FrameParts>;
}

/** An uplink frame as the terminal would send it, or one that differs from that as told. */
export function request(terminal: Terminal, options: RequestOptions): Buffer {
  const { command, sequence = 1, suite = SUITE.HMAC, at = now(), frame } = options;
  const timestamp = options.implicit ? at - (at % 60) : at;
  const claimed = options.claim === true ? terminal : options.claim || undefined;
  const { imei, imsi } = claimed ?? terminal;
  const tlvs: Tlv[] = options.implicit || suite === SUITE.NONE ? [] : [[TAG.TIMESTAMP, u32(timestamp)]];
  if (claimed) tlvs.push([TAG.IMEI, ascii(imei)], [TAG.IMSI, ascii(imsi)]);
  tlvs.push(...(options.tlvs ?? []), ...keyTlvs(terminal, options, suite, timestamp));
  const sign = { timestamp, imei, imsi, password: options.password ?? terminal.uplinkPassword };
  return buildFrame({ command, serial: terminal.serial, sequence, suite, tlvs, sign, ...frame });
}

function keyTlvs(terminal: Terminal, { askKey, keyProof }: RequestOptions, suite: number, at: number): Tlv[] {
  const tlvs: Tlv[] = askKey ? [[TAG.SESSION_KEY_REQUEST, Buffer.alloc(0)]] : [];
  const key = keyProof === true ? terminal.baseKey : keyProof;
  if (key) tlvs.push([TAG.BASE_KEY_DIGEST, baseKeyDigest(suite, terminal.serial, at, key)]);
  return tlvs;
}

type Rest = Omit<RequestOptions, 'command'>;
type Asker = (terminal: Terminal, options?: Rest) => Buffer;
const asker =
  (command: number, preset: Rest = {}): Asker =>
  (terminal, options = {}) =>
    request(terminal, { ...preset, ...options, command });

export const login = asker(COMMAND.LOGIN);
export const loginForKey = asker(COMMAND.LOGIN, { askKey: true, keyProof: true });
export const logout = asker(COMMAND.LOGOUT);
export const heartbeat = asker(COMMAND.HEARTBEAT);
export const sessionKey = asker(COMMAND.SESSION_KEY, { keyProof: true });

/** `delivery` undefined: CHANGE_DELIVERY is absent. */
export function credentialChange(targets: number, delivery?: number): Asker {
  const how: Tlv[] = delivery === undefined ? [] : [[TAG.CHANGE_DELIVERY, u8(delivery)]];
  return asker(COMMAND.CREDENTIAL_CHANGE, { tlvs: [[TAG.CHANGE_TARGETS, u8(targets)], ...how] });
}
export const credentialConfirm = (changeId: number): Asker =>
  asker(COMMAND.CREDENTIAL_CONFIRM, { tlvs: [[TAG.CHANGE_ID, u32(changeId)]] });
export const noticeAnswer = ({ sequence, suite, digest }: Parsed): Asker =>
  asker(RESPONSE | COMMAND.CREDENTIAL_NOTICE, { sequence, suite, tlvs: [[TAG.REQUEST_DIGEST, digest!]] });
export const authChallenge = (clientNonce: Buffer): Asker =>
  asker(COMMAND.AUTH_CHALLENGE, { suite: SUITE.NONE, tlvs: [[TAG.CLIENT_NONCE, clientNonce]] });
/** `tlvs`: HARDWARE_ID, SERVER_NONCE, THIRD_CODE and CREDENTIAL_PACKET. */
export const authProof = (tlvs: readonly Tlv[]): Asker => asker(COMMAND.AUTH_PROOF, { claim: true, tlvs });

export type Parsed = ReturnType<typeof parse>;

/** Reads one whole frame, request or response. `tlvs` is without the digest. Throws where the layout is wrong. */
export function parse(frame: Buffer) {
  const length = frame.readUInt16BE(0);
  if (length !== frame.length) throw new Error(`length says ${length}, frame has ${frame.length}`);
  const tlvs = new Map<number, Buffer>();
  let covered = frame;
  for (let at = 28; at < length;) {
    const tag = frame.readUInt16BE(at);
    const end = at + 4 + frame.readUInt16BE(at + 2);
    if (end > length || tlvs.has(tag)) throw new Error(`tag ${tag.toString(16)} twice or past the end`);
    tlvs.set(tag, frame.subarray(at + 4, end));
    if (tag === TAG.DIGEST && end !== length) throw new Error('digest is not last');
    if (tag === TAG.DIGEST) covered = frame.subarray(0, at);
    at = end;
  }
  const digest = tlvs.get(TAG.DIGEST);
  tlvs.delete(TAG.DIGEST);
  return {
    length,
    command: frame.readUInt16BE(2),
    sequence: frame.readUInt32BE(4),
    version: frame.readUInt16BE(8),
    suite: frame.readUInt8(10),
    result: frame.readUInt8(11),
    serial: frame.toString('latin1', 12, 28).replace(/\0+$/, ''),
    tlvs,
    digest,
    covered,
  };
}

export function timestampOf(frame: Parsed): number | undefined {
  return frame.tlvs.get(TAG.TIMESTAMP)?.readUInt32BE(0);
}

/** IMEI and IMSI that count for a frame's digest: its own where it has them. */
export function identityOf(frame: Parsed, stored: Identity): Identity {
  const [imei, imsi] = [frame.tlvs.get(TAG.IMEI), frame.tlvs.get(TAG.IMSI)];
  return imei && imsi ? { imei: imei.toString('latin1'), imsi: imsi.toString('latin1') } : stored;
}

export function digestIsGood(frame: Parsed, signing: Signing): boolean {
  return frame.digest !== undefined && frame.digest.equals(frameDigest(frame.suite, frame.covered, signing));
}

/** What is wrong with a signed frame from the gateway; undefined: nothing. `asked` is absent for NOTICE and DISCONNECT. */
export function downlinkFlaw(
  frame: Parsed,
  terminal: Terminal,
  asked?: Buffer,
  password = terminal.downlinkPassword,
): string | undefined {
  const query = asked && parse(asked);
  const timestamp = timestampOf(frame);
  if (timestamp === undefined) return 'no TIMESTAMP';
  const identity = query ? identityOf(query, terminal) : terminal;
  if (!digestIsGood(frame, { ...identity, timestamp, password })) return 'digest';
  if (query === undefined) return undefined;
  if (frame.suite !== query.suite) return 'suite';
  if (frame.sequence !== query.sequence || frame.command !== (query.command | RESPONSE))
    return 'another request';
  return frame.tlvs.get(TAG.REQUEST_DIGEST)?.equals(query.digest ?? Buffer.alloc(0))
    ? undefined
    : 'REQUEST_DIGEST';
}

/** Cuts a stream from the gateway into frames by their length. */
export class Splitter {
  private held: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Parsed[] {
    this.held = Buffer.concat([this.held, chunk]);
    const frames: Parsed[] = [];
    while (this.held.length >= 28 && this.held.length >= this.held.readUInt16BE(0)) {
      const length = Math.max(this.held.readUInt16BE(0), 28);
      frames.push(parse(this.held.subarray(0, length)));
      this.held = this.held.subarray(length);
    }
    return frames;
  }

  /** Bytes that are no whole frame yet. */
  get rest(): Buffer {
    return this.held;
  }
}

const ecb = (key: Buffer): string => `aes-${key.length * 8}-ecb`;

/** AES key wrap, RFC 3394 section 2.2.1, block by block. */
export function wrap(key: Buffer, plain: Buffer): Buffer {
  const n = plain.length / 8;
  const blocks = Array.from({ length: n }, (_, i) => plain.subarray(i * 8, i * 8 + 8));
  let a: Buffer = Buffer.alloc(8, 0xa6);
  for (let t = 1; t <= 6 * n; t++) {
    const cipher = createCipheriv(ecb(key), key, null).setAutoPadding(false);
    const b = cipher.update(Buffer.concat([a, blocks[(t - 1) % n]!]));
    a = xorCounter(b.subarray(0, 8), t);
    blocks[(t - 1) % n] = b.subarray(8);
  }
  return Buffer.concat([a, ...blocks]);
}

/** Section 2.2.2; undefined where the initial value is not what comes out. */
export function unwrap(key: Buffer, wrapped: Buffer): Buffer | undefined {
  const n = wrapped.length / 8 - 1;
  const blocks = Array.from({ length: n }, (_, i) => wrapped.subarray(i * 8 + 8, i * 8 + 16));
  let a: Buffer = wrapped.subarray(0, 8);
  for (let t = 6 * n; t >= 1; t--) {
    const cipher = createDecipheriv(ecb(key), key, null).setAutoPadding(false);
    const b = cipher.update(Buffer.concat([xorCounter(a, t), blocks[(t - 1) % n]!]));
    a = b.subarray(0, 8);
    blocks[(t - 1) % n] = b.subarray(8);
  }
  return a.equals(Buffer.alloc(8, 0xa6)) ? noteSecret(Buffer.concat(blocks)) : undefined;
}

function xorCounter(block: Buffer, t: number): Buffer {
  const out = Buffer.from(block);
  out.writeUInt32BE((out.readUInt32BE(4) ^ t) >>> 0, 4);
  return out;
}
