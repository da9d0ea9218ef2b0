/** TLV tags of version 4.0 (docs/protocol.md, "TLVs"). A new one is one row here and one vector. */
import { bytes, digits, flag, oneOf, printable, u16, u32, u8, type ValueCodec } from './values';

export interface TagRow<T> {
  readonly tag: number;
  readonly codec: ValueCodec<T>;
  /** Secrets, codes and digests: shown to nobody but the one who gave them. */
  readonly secret: boolean;
}

const row = <T>(tag: number, codec: ValueCodec<T>): TagRow<T> => ({ tag, codec, secret: false });
const secret = <T>(tag: number, codec: ValueCodec<T>): TagRow<T> => ({ tag, codec, secret: true });
const within = (low: number, high: number) => (value: number) => value >= low && value <= high;

export const TAGS = {
  timestamp: row(0xf001, u32()),
  imei: row(0xe00e, digits(15)),
  imsi: row(0xe012, digits(6, 15)),
  firmware: row(0xf002, printable(1, 64)),
  sessionKeyRequest: row(0xf003, flag()),
  baseKeyDigest: secret(0xe03a, bytes(16)),
  sessionId: row(0xf010, bytes(8)),
  sessionKey: secret(0xe03b, oneOf(24, 40)),
  sessionTtl: row(0xf011, u32()),
  heartbeatInterval: row(0xf012, u16()),
  retryAfter: row(0xf013, u32()),
  requestDigest: secret(0xf014, oneOf(16, 32)),
  changeTargets: row(0xf020, u8(within(1, 7))),
  changeDelivery: row(0xf021, u8(within(0, 3))),
  changeId: row(0xf022, u32(within(1, 0xffffffff))),
  newUplinkPassword: secret(0xe025, bytes(24)),
  newDownlinkPassword: secret(0xe028, bytes(24)),
  newBaseKey: secret(0xe036, oneOf(24, 40)),
  clientNonce: row(0xf030, bytes(16)),
  serverNonce: row(0xf031, bytes(16)),
  firstCode: secret(0xf032, bytes(32)),
  thirdCode: secret(0xf033, bytes(40)),
  credentialPacket: secret(0xf034, bytes(33, 1024)),
  hardwareId: row(0xf035, bytes(1, 64)),
  disconnectReason: row(0xf040, u8(within(1, 6))),
  digest: secret(0xe021, oneOf(16, 32)),
} as const satisfies Record<
  string,
  TagRow<never> | TagRow<number> | TagRow<string> | TagRow<Buffer> | TagRow<true>
>;

export type FieldName = keyof typeof TAGS;

/** What a body holds, by field name. The digest is not among them: it is the frame's, not the message's. */
export type Fields = {
  -readonly [K in Exclude<FieldName, 'digest'>]?: (typeof TAGS)[K] extends TagRow<infer T> ? T : never;
};

export const FIELD_NAMES = Object.keys(TAGS) as FieldName[];

const BY_TAG = new Map<number, FieldName>(FIELD_NAMES.map((name) => [TAGS[name].tag, name]));

export function fieldOf(tag: number): FieldName | undefined {
  return BY_TAG.get(tag);
}

/** Tags that a receiver skips, though they stand under the digest. */
export function isSkippable(tag: number): boolean {
  return tag >= 0x7000 && tag <= 0x7fff;
}

/** `baseKeyDigest` as the protocol spells it: `BASE_KEY_DIGEST`. */
export function wireName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

/** A field's row with its type opened, for code that walks over any of them. */
export function rowOf(field: FieldName): TagRow<unknown> {
  return TAGS[field];
}
