/** TLVs that come encrypted, once they are decrypted (docs/wmmp.md, "Encryption"). */
import { isFault } from '../../protocol/faults';
import { TLV_HEAD, walkTlvs, type Tlv } from '../../protocol/tlv';
import { wmmpTagName, wmmpTagRow, type WmmpTagName, type WmmpTlvs } from '../../protocol/wmmp/tags';

export interface PlainTlvs {
  readonly values: WmmpTlvs;
  /** Tags that stand twice, have a value of the wrong length, or run past the end. */
  readonly bad: readonly number[];
}

/** @param names those that are looked for: all others are skipped */
export function readPlain(plain: Buffer, start: number, names: readonly WmmpTagName[]): PlainTlvs {
  const { found, torn } = split(plain, start);
  const values: Record<string, unknown> = {};
  const bad = torn === undefined ? [] : [torn];
  for (const { tag, value } of found) {
    const name = wmmpTagName(tag);
    if (name === undefined || !names.includes(name)) continue;
    const { codec } = wmmpTagRow(name);
    const fits = value.length >= codec.min && value.length <= codec.max;
    if (!fits || values[name] !== undefined) bad.push(tag);
    // A copy, so that a secret does not keep the whole text that it came in.
    else values[name] = codec.read(Buffer.from(value));
  }
  return { values, bad };
}

/** Zeros that pad the text read as TLVs 0x0000 of no length, which are skipped; fewer than four are left over. */
function split(plain: Buffer, start: number): { found: readonly Tlv[]; torn: number | undefined } {
  const walked = walkTlvs(plain, start);
  if (!isFault(walked)) return { found: walked, torn: undefined };
  const before = walkTlvs(plain.subarray(0, walked.offset), start);
  const rest = plain.subarray(walked.offset);
  const isPadding = rest.length < TLV_HEAD && rest.every((byte) => byte === 0);
  return { found: isFault(before) ? [] : before, torn: isPadding ? undefined : tagOf(rest) };
}

/** Of what is too short for one, as far as it goes. */
function tagOf(rest: Buffer): number {
  return Buffer.concat([rest], 2).readUInt16BE(0);
}
