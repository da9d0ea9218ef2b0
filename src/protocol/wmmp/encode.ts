/** From a message of WMMP 3.0 to its frame. Signing and encrypting are the caller's: it alone knows the secrets. */
import type { Sign } from '../encode';
import { HEADER_SIZE, writeHeader, type Header } from '../header';
import { TLV_HEAD, writeTlv } from '../tlv';
import { fixedCodec, type FixedFields, type FixedName, type WmmpBody } from './commands';
import { WMMP_TAGS, wmmpTagRow, type WmmpTagName, type WmmpTlvs } from './tags';

export interface WmmpOutgoing {
  /** `suite` is the security byte. */
  readonly header: Omit<Header, 'length' | 'result'>;
  readonly body: WmmpBody;
  readonly fixed: Readonly<FixedFields>;
  /** Written in the order of the body's row. */
  readonly tlvs?: Readonly<WmmpTlvs>;
  /** What stands in their place where the row's layout is not known. */
  readonly rest?: Buffer;
}

const NOTHING = Buffer.alloc(0);

/** @param sign makes the digest over what is before it; undefined: none is sent */
export function encodeWmmp(message: WmmpOutgoing, sign?: Sign): Buffer {
  const { fixed, tlvs = {} } = message;
  const known = message.body.rest;
  const rest = known === 'unknown' ? (message.rest ?? NOTHING) : encodeTlvs(known, tlvs);
  const parts = [...message.body.fixed.map((name) => fixedBytes(name, fixed)), rest];
  const bodyEnd = parts.reduce((sum, part) => sum + part.length, HEADER_SIZE);
  const size = bodyEnd + (sign === undefined ? 0 : TLV_HEAD + WMMP_TAGS.digest.codec.max);
  const frame = Buffer.alloc(size);
  writeHeader(frame, { ...message.header, length: size, result: 0 });
  let offset = HEADER_SIZE;
  for (const part of parts) offset += part.copy(frame, offset);
  if (sign !== undefined) writeTlv(frame, bodyEnd, WMMP_TAGS.digest.tag, sign(frame.subarray(0, bodyEnd)));
  return frame;
}

/** The TLVs of `names` that have a value, in that order. */
export function encodeTlvs(names: readonly WmmpTagName[], values: Readonly<WmmpTlvs>): Buffer {
  const parts = names.flatMap((name) => {
    const value = (values as Record<string, unknown>)[name];
    if (value === undefined) return [];
    const { tag, codec } = wmmpTagRow(name);
    const bytes = codec.write(value);
    const tlv = Buffer.alloc(TLV_HEAD + bytes.length);
    writeTlv(tlv, 0, tag, bytes);
    return [tlv];
  });
  return Buffer.concat(parts);
}

function fixedBytes(name: FixedName, values: Readonly<FixedFields>): Buffer {
  const value = (values as Record<string, unknown>)[name];
  if (value === undefined) throw new Error(`${name} has no value`);
  return fixedCodec(name).write(value);
}
