/** The TLVs of a frame as far as they can be read, in the words of a dialect. */
import { isFault, type Fault } from '../protocol/faults';
import { HEADER_SIZE, type Header } from '../protocol/header';
import { wireName, type TagRow } from '../protocol/tags';
import { hexTag, walkTlvs, type Tlv } from '../protocol/tlv';
import type { DescribedTlv } from './frameTable';

/** What a dialect knows of a tag: how it calls it, and its row. */
export type Naming = (tag: number) => { readonly name: string; readonly row: TagRow<unknown> } | undefined;

/** @param showSecrets otherwise they show as their size */
export function describeTlvs(
  tlvs: readonly Tlv[],
  naming: Naming,
  showSecrets: boolean,
): readonly DescribedTlv[] {
  return tlvs.map(({ tag, value, offset }) => {
    const known = naming(tag);
    const secret = known?.row.secret === true;
    return {
      offset,
      tag: hexTag(tag),
      name: known === undefined ? null : wireName(known.name),
      length: value.length,
      value: secret && !showSecrets ? null : plainValue(known?.row, value),
      secret,
    };
  });
}

function plainValue(row: TagRow<unknown> | undefined, value: Buffer): string | number | true {
  const codec = row?.codec;
  const fits = codec !== undefined && value.length >= codec.min && value.length <= codec.max;
  const read = fits ? codec.read(value) : undefined;
  return typeof read === 'string' || typeof read === 'number' || read === true ? read : value.toString('hex');
}

/** The TLVs from `start` to the first place where the walk must stop. */
export function readableTlvs(header: Header, bytes: Buffer, start: number): Tlv[] {
  const end = header.length >= HEADER_SIZE ? Math.min(header.length, bytes.length) : bytes.length;
  const walked = walkTlvs(bytes.subarray(0, end), start);
  if (!isFault(walked)) return walked;
  const before = walkTlvs(bytes.subarray(0, walked.offset), start);
  return isFault(before) ? [] : before;
}

/** In a frame cut short: a TLV that would run past the frame even if the rest were there. */
export function firstTlvFault(header: Header, bytes: Buffer, start: number): Fault | undefined {
  const padded = Buffer.concat([bytes], header.length);
  const walked = walkTlvs(padded, start);
  return isFault(walked) && walked.offset < bytes.length - 4 ? walked : undefined;
}
