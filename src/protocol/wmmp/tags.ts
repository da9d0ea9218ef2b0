/** TLV tags that WMMP 3.0 gives a meaning here (docs/wmmp.md, "TLVs"). All others are skipped. */
import { bytes, u32 } from '../values';
import type { TagRow } from '../tags';

const row = <T>(tag: number, codec: TagRow<T>['codec']): TagRow<T> => ({ tag, codec, secret: false });
const secret = <T>(tag: number, codec: TagRow<T>['codec']): TagRow<T> => ({ tag, codec, secret: true });

/** 0xE040 and 0xE042 hold whole blocks of eight bytes; no frame of this dialect needs more. */
const LARGEST_CIPHERTEXT = 0xffff;

export const WMMP_TAGS = {
  baseKeyDigest: secret(0xe03a, bytes(16)),
  sessionKeyCiphertext: secret(0xe040, bytes(8, LARGEST_CIPHERTEXT)),
  sessionKey: secret(0xe03b, bytes(24)),
  sessionKeyExpiry: row(0xe03d, u32()),
  bodyCiphertext: secret(0xe042, bytes(8, LARGEST_CIPHERTEXT)),
  uplinkPassword: secret(0xe025, bytes(8)),
  uplinkPasswordExpiry: row(0xe027, u32()),
  downlinkPassword: secret(0xe028, bytes(8)),
  downlinkPasswordExpiry: row(0xe02a, u32()),
  baseKey: secret(0xe036, bytes(24)),
  baseKeyExpiry: row(0xe038, u32()),
  digest: secret(0xe021, bytes(16)),
} as const satisfies Record<string, TagRow<number> | TagRow<Buffer>>;

export type WmmpTagName = keyof typeof WMMP_TAGS;

/** Values of TLVs by name. */
export type WmmpTlvs = {
  -readonly [K in WmmpTagName]?: (typeof WMMP_TAGS)[K] extends TagRow<infer T> ? T : never;
};

export const WMMP_TAG_NAMES = Object.keys(WMMP_TAGS) as WmmpTagName[];

const BY_TAG = new Map<number, WmmpTagName>(WMMP_TAG_NAMES.map((name) => [WMMP_TAGS[name].tag, name]));

export function wmmpTagName(tag: number): WmmpTagName | undefined {
  return BY_TAG.get(tag);
}

/** A tag's row with its type opened, for code that walks over any of them. */
export function wmmpTagRow(name: WmmpTagName): TagRow<unknown> {
  return WMMP_TAGS[name];
}

/** An expiry that never comes. */
export const NEVER = 0xffffffff;
