/**
 * A second, independent implementation of WMMP 3.0 for tests: written from the protocol's page with numbers of its
 * own, it imports nothing from src/. What it builds may be wrong on purpose; what it reads must be right, or it throws.
 */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { paddedSerial, tlv, u16, u32, u8, type Signing, type Terminal, type Tlv } from './oracle';
import { noteSecret } from './secrets';

// prettier-ignore
export const WMMP = {
  LOGIN: 0x01, LOGOUT: 0x02, HEARTBEAT: 0x03, CONFIG_TRAP: 0x07, REGISTER: 0x08, SECURITY_CONFIG: 0x0e,
} as const;
// prettier-ignore
export const WMMP_TAG = {
  DIGEST: 0xe021, UPLINK_PASSWORD: 0xe025, UPLINK_EXPIRY: 0xe027, DOWNLINK_PASSWORD: 0xe028, DOWNLINK_EXPIRY: 0xe02a,
  BASE_KEY: 0xe036, BASE_KEY_EXPIRY: 0xe038, BASE_KEY_DIGEST: 0xe03a, SESSION_KEY: 0xe03b, SESSION_KEY_EXPIRY: 0xe03d,
  SESSION_KEY_CIPHERTEXT: 0xe040, BODY_CIPHERTEXT: 0xe042,
} as const;
const RESPONSE = 0x8000;
export const FOREVER = 0xffffffff;

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const md5 = (...parts: Buffer[]): Buffer => createHash('md5').update(Buffer.concat(parts)).digest();

export interface WmmpFrameParts {
  readonly command: number;
  readonly serial: string | Buffer;
  readonly sequence?: number;
  /** Default: 0x0300. */
  readonly version?: number;
  /** Offset 10. Default: 0. */
  readonly security?: number;
  /** Fixed fields and TLVs, a digest TLV among them where it is not to be made here. */
  readonly body?: Buffer;
  /** Default: what is right. */
  readonly length?: number;
}

/** Header and body, without a digest. */
export function wmmpFrame(parts: WmmpFrameParts): Buffer {
  const { command, serial, sequence = 1, version = 0x0300, security = 0, body = Buffer.alloc(0) } = parts;
  const length = parts.length ?? 28 + body.length;
  const head = [u16(length), u16(command), u32(sequence), u16(version), u8(security), u8(0)];
  return Buffer.concat([...head, paddedSerial(serial), body]);
}

/** MD5 over frame, timestamp, IMEI with 0x00, IMSI padded to 15 bytes, password. */
export function wmmpFrameDigest(covered: Buffer, { timestamp, imei, imsi, password }: Signing): Buffer {
  const identity = Buffer.concat([ascii(imei), u8(0), Buffer.concat([ascii(imsi)], 15)]);
  return md5(covered, u32(timestamp), identity, password);
}

/** As wmmpFrame, with the digest TLV at its end, which its length counts. */
export function signedWmmpFrame(parts: WmmpFrameParts, signing: Signing): Buffer {
  const covered = wmmpFrame({ length: 28 + (parts.body?.length ?? 0) + 20, ...parts });
  return Buffer.concat([covered, tlv([WMMP_TAG.DIGEST, wmmpFrameDigest(covered, signing)])]);
}

export const wmmpTlvs = (tlvs: readonly Tlv[]): Buffer => Buffer.concat(tlvs.map(tlv));

/** The value of 0xE03A. */
export function shownBaseKey(baseKey: Buffer): Buffer {
  return md5(
    wmmpTlvs([
      [WMMP_TAG.BASE_KEY, baseKey],
      [WMMP_TAG.BASE_KEY_EXPIRY, u32(FOREVER)],
    ]),
  );
}

/** Three keys of which the third is the first: what others call two-key triple DES. */
const tripleKey = (key: Buffer): Buffer =>
  Buffer.concat([key.subarray(0, 8), key.subarray(8, 16), key.subarray(0, 8)]);

export function tripleDes(key: Buffer, plain: Buffer): Buffer {
  const rest = plain.length % 8;
  const padded = Buffer.concat([plain, Buffer.alloc(rest === 0 ? 0 : 8 - rest)]);
  const cipher = createCipheriv('des-ede3-ecb', tripleKey(key), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(padded), cipher.final()]);
}

/** With its padding. */
export function undoTripleDes(key: Buffer, ciphertext: Buffer): Buffer {
  const decipher = createDecipheriv('des-ede3-ecb', tripleKey(key), null).setAutoPadding(false);
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}

/** The value of 0xE040. */
export function sealedSessionKey(baseKey: Buffer, sessionKey: Buffer, expiry = FOREVER): Buffer {
  const tlvs: Tlv[] = [
    [WMMP_TAG.SESSION_KEY, sessionKey],
    [WMMP_TAG.SESSION_KEY_EXPIRY, u32(expiry)],
  ];
  return tripleDes(baseKey, wmmpTlvs(tlvs));
}

/** The session key out of 0xE040. Throws where it is not laid out as it should be. */
export function openedSessionKey(baseKey: Buffer, ciphertext: Buffer): Buffer {
  const tlvs = readTlvs(undoTripleDes(baseKey, ciphertext), 0, true);
  const key = tlvs.get(WMMP_TAG.SESSION_KEY);
  if (key?.length !== 24 || !key.subarray(16).equals(key.subarray(0, 8))) throw new Error('no session key');
  if (tlvs.get(WMMP_TAG.SESSION_KEY_EXPIRY)?.length !== 4) throw new Error('no expiry of the session key');
  noteSecret(key.subarray(0, 16));
  return noteSecret(key);
}

type Options = Partial<WmmpFrameParts> & {
  readonly password?: Buffer;
  /** Before the digest. */
  readonly tlvs?: readonly Tlv[];
};

export type WmmpLoginOptions = Options & {
  /** 8 bytes. */
  readonly software?: string;
  /** Asks for a session key: under the terminal's base key (true) or another. */
  readonly keyProof?: boolean | Buffer;
};

/** LOGIN as a terminal sends it, or one that differs from that as told. */
export function wmmpLogin(terminal: Terminal, options: WmmpLoginOptions = {}): Buffer {
  const { software = '12345678', keyProof = false, tlvs = [], password, ...parts } = options;
  const key = keyProof === true ? terminal.baseKey : keyProof;
  const proof: Tlv[] = key ? [[WMMP_TAG.BASE_KEY_DIGEST, shownBaseKey(key)]] : [];
  const body = Buffer.concat([ascii(software), u32(0), wmmpTlvs([...tlvs, ...proof])]);
  const security = key ? 0xe0 : 0xa0;
  return signedWmmpFrame(
    { command: WMMP.LOGIN, serial: terminal.serial, security, body, ...parts },
    { ...terminal, timestamp: 0, password: password ?? terminal.uplinkPassword },
  );
}

export const wmmpHeartbeat = (terminal: Terminal, parts: Partial<WmmpFrameParts> = {}): Buffer =>
  wmmpFrame({ command: WMMP.HEARTBEAT, serial: terminal.serial, ...parts });

/** @param timestamp the one of the LOGIN's answer; undefined: without a digest */
export function wmmpLogout(
  terminal: Terminal,
  timestamp: number | undefined,
  { reason = 1, ...options }: Options & { readonly reason?: number } = {},
): Buffer {
  return uplink(terminal, WMMP.LOGOUT, timestamp, Buffer.concat([u8(reason)]), options);
}

/** @param result 0, or 2 with the tags that were not taken */
export function securityConfigAnswer(
  terminal: Terminal,
  timestamp: number | undefined,
  sequence: number,
  {
    result = 0,
    tags = [],
    ...options
  }: Options & { readonly result?: number; readonly tags?: readonly number[] } = {},
): Buffer {
  const body = Buffer.concat([u8(result), ...tags.map(u16)]);
  return uplink(terminal, WMMP.SECURITY_CONFIG | RESPONSE, timestamp, body, { sequence, ...options });
}

/** Any frame from a terminal that has logged in. @param timestamp undefined: without a digest */
export function uplink(
  terminal: Terminal,
  command: number,
  timestamp: number | undefined,
  fixed: Buffer,
  { tlvs = [], password = terminal.uplinkPassword, ...parts }: Options = {},
): Buffer {
  const body = Buffer.concat([fixed, wmmpTlvs(tlvs)]);
  const frame = { command, serial: terminal.serial, body, ...parts };
  return timestamp === undefined
    ? wmmpFrame(frame)
    : signedWmmpFrame({ security: 0x20, ...frame }, { ...terminal, timestamp, password });
}

/** What a gateway answers to a LOGIN. `sessionKey`: sealed under the terminal's base key. */
export function wmmpLoginAnswer(
  terminal: Terminal,
  asked: Pick<ParsedWmmp, 'sequence'>,
  options: Options & {
    readonly result?: number;
    readonly timestamp: number;
    readonly sessionKey?: Buffer | undefined;
  },
): Buffer {
  const { result = 0, timestamp, sessionKey, tlvs = [], password, ...parts } = options;
  const sealed: Tlv[] = sessionKey
    ? [[WMMP_TAG.SESSION_KEY_CIPHERTEXT, sealedSessionKey(terminal.baseKey, sessionKey)]]
    : [];
  const body = Buffer.concat([u8(result), u32(timestamp), wmmpTlvs([...sealed, ...tlvs])]);
  const { serial } = terminal;
  const head = { command: WMMP.LOGIN | RESPONSE, serial, sequence: asked.sequence, security: 0x20 };
  return signedWmmpFrame(
    { ...head, body, ...parts },
    { ...terminal, timestamp, password: password ?? terminal.downlinkPassword },
  );
}

/** An answer without a digest, its fixed fields as they stand. */
export const wmmpAnswer = (
  terminal: Terminal,
  { command, sequence }: Pick<ParsedWmmp, 'command' | 'sequence'>,
  body: Buffer = Buffer.alloc(0),
): Buffer => wmmpFrame({ command: command | RESPONSE, serial: terminal.serial, sequence, body });

export interface NewValues {
  readonly uplinkPassword?: Buffer;
  readonly downlinkPassword?: Buffer;
  readonly baseKey?: Buffer;
}

const neverEnding = (tag: number, expiry: number, value: Buffer | undefined): Tlv[] =>
  value
    ? [
        [tag, value],
        [expiry, u32(FOREVER)],
      ]
    : [];

/** What SECURITY_CONFIG holds before it is encrypted. */
export function securityConfigPlain({ uplinkPassword, downlinkPassword, baseKey }: NewValues): Buffer {
  const values = [
    ...neverEnding(WMMP_TAG.UPLINK_PASSWORD, WMMP_TAG.UPLINK_EXPIRY, uplinkPassword),
    ...neverEnding(WMMP_TAG.DOWNLINK_PASSWORD, WMMP_TAG.DOWNLINK_EXPIRY, downlinkPassword),
    ...neverEnding(WMMP_TAG.BASE_KEY, WMMP_TAG.BASE_KEY_EXPIRY, baseKey),
  ];
  return Buffer.concat([u8(0), wmmpTlvs(values)]);
}

/** SECURITY_CONFIG as a gateway sends it. @param plain as securityConfigPlain() makes it, or worse */
export function securityConfig(
  terminal: Terminal,
  timestamp: number,
  sessionKey: Buffer,
  plain: Buffer,
  { tlvs = [], password = terminal.downlinkPassword, ...parts }: Options = {},
): Buffer {
  const body = wmmpTlvs([[WMMP_TAG.BODY_CIPHERTEXT, tripleDes(sessionKey, plain)], ...tlvs]);
  const head = { command: WMMP.SECURITY_CONFIG, serial: terminal.serial, security: 0xf0 };
  return signedWmmpFrame({ ...head, body, ...parts }, { ...terminal, timestamp, password });
}

/** The values of a SECURITY_CONFIG frame. Throws where its layout, or an expiry, is not that of the page. */
export function openedSecurityConfig(sessionKey: Buffer, frame: ParsedWmmp): NewValues {
  const ciphertext = frame.tlvs.get(WMMP_TAG.BODY_CIPHERTEXT);
  if (ciphertext === undefined || frame.tlvs.size !== 1) throw new Error('not one TLV 0xE042');
  const plain = undoTripleDes(sessionKey, ciphertext);
  if (plain[0] !== 0) throw new Error(`operation ${plain[0]}`);
  const tlvs = readTlvs(plain, 1, true);
  const value = (tag: number, expiry: number, size: number): Buffer | undefined => {
    const found = tlvs.get(tag);
    if (tlvs.get(expiry)?.readUInt32BE(0) !== (found && FOREVER)) throw new Error(`expiry of ${tag}`);
    if (found !== undefined && found.length !== size) throw new Error(`size of ${tag}`);
    return found && noteSecret(found);
  };
  const uplinkPassword = value(WMMP_TAG.UPLINK_PASSWORD, WMMP_TAG.UPLINK_EXPIRY, 8);
  const downlinkPassword = value(WMMP_TAG.DOWNLINK_PASSWORD, WMMP_TAG.DOWNLINK_EXPIRY, 8);
  const baseKey = value(WMMP_TAG.BASE_KEY, WMMP_TAG.BASE_KEY_EXPIRY, 24);
  return {
    ...(uplinkPassword && { uplinkPassword }),
    ...(downlinkPassword && { downlinkPassword }),
    ...(baseKey && { baseKey }),
  };
}

/** Bytes of fixed fields by command, of those that have some. */
const FIXED = new Map([
  [WMMP.LOGIN, 12],
  [WMMP.LOGOUT, 1],
  [WMMP.REGISTER, 32],
  [WMMP.LOGIN | RESPONSE, 5],
  [WMMP.REGISTER | RESPONSE, 17],
  [WMMP.CONFIG_TRAP | RESPONSE, 1],
]);
/** Commands that end in something else than TLVs: what stands there, but for a digest. */
const NO_TLVS = new Set([
  WMMP.SECURITY_CONFIG | RESPONSE,
  ...[4, 5, 6, 10, 11, 12, 13, 15].map((code) => code | RESPONSE),
]);

export type ParsedWmmp = ReturnType<typeof parseWmmp>;

/** Reads one whole frame, from either side. `tlvs` is without the digest. Throws where the layout is wrong. */
export function parseWmmp(frame: Buffer) {
  const length = frame.readUInt16BE(0);
  if (length !== frame.length) throw new Error(`length says ${length}, frame has ${frame.length}`);
  const command = frame.readUInt16BE(2);
  const digestAt = length - 20;
  const hasDigest = digestAt >= 28 && frame.readUInt32BE(digestAt) === ((WMMP_TAG.DIGEST << 16) | 16) >>> 0;
  const covered = hasDigest ? frame.subarray(0, digestAt) : frame;
  const fixedEnd = NO_TLVS.has(command) ? covered.length : 28 + (FIXED.get(command) ?? 0);
  if (fixedEnd > covered.length) throw new Error('the fixed fields are not all there');
  return {
    length,
    command,
    sequence: frame.readUInt32BE(4),
    version: frame.readUInt16BE(8),
    security: frame.readUInt8(10),
    reserved: frame.readUInt8(11),
    serial: frame.toString('latin1', 12, 28).replace(/\0+$/, ''),
    fixed: frame.subarray(28, fixedEnd),
    tlvs: readTlvs(covered, fixedEnd, false),
    digest: hasDigest ? frame.subarray(digestAt + 4) : undefined,
    covered,
    bytes: frame,
  };
}

/** @param padded whether zeros may follow the last one */
function readTlvs(bytes: Buffer, start: number, padded: boolean): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = start; at < bytes.length;) {
    if (padded && bytes.length - at < 8 && bytes.subarray(at).every((byte) => byte === 0)) break;
    const tag = bytes.readUInt16BE(at);
    const end = at + 4 + bytes.readUInt16BE(at + 2);
    if (end > bytes.length || found.has(tag))
      throw new Error(`tag ${tag.toString(16)} twice or past the end`);
    found.set(tag, bytes.subarray(at + 4, end));
    at = end;
  }
  return found;
}

/** Whether the digest is there and right. */
export function wmmpDigestIsGood({ digest, covered }: ParsedWmmp, signing: Signing): boolean {
  return digest?.equals(wmmpFrameDigest(covered, signing)) === true;
}

/** Result and timestamp of a LOGIN's answer. */
export const loginAnswerOf = ({ fixed }: ParsedWmmp): { result: number; timestamp: number } => ({
  result: fixed.readUInt8(0),
  timestamp: fixed.readUInt32BE(1),
});

/** Cuts a stream from either side into frames by their length. */
export class WmmpSplitter {
  private held: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): ParsedWmmp[] {
    this.held = Buffer.concat([this.held, chunk]);
    const frames: ParsedWmmp[] = [];
    while (this.held.length >= 28 && this.held.length >= this.held.readUInt16BE(0)) {
      const length = Math.max(this.held.readUInt16BE(0), 28);
      frames.push(parseWmmp(this.held.subarray(0, length)));
      this.held = this.held.subarray(length);
    }
    return frames;
  }
}
