/** From a frame of WMMP 3.0 to a typed message, or to the first fault with its offset. */
import type { Decoded } from '../decode';
import { fault, isFault, type Fault } from '../faults';
import { HEADER_SIZE, RESPONSE_BIT, type ReadHeader } from '../header';
import type { Fields } from '../tags';
import { hexTag, TLV_HEAD, walkTlvs, type Tlv } from '../tlv';
import {
  fixedCodec,
  wmmpBody,
  wmmpCommandName,
  type FixedFields,
  type WmmpBody,
  type WmmpCommandName,
} from './commands';
import { WMMP_TAGS, wmmpTagName, wmmpTagRow, type WmmpTlvs } from './tags';

export interface WmmpMessage extends Decoded<WmmpCommandName> {
  readonly fixed: Readonly<FixedFields>;
  readonly tlvs: Readonly<WmmpTlvs>;
  /** All tags in the order in which they came, the digest's aside; none where the body's layout is not known. */
  readonly tags: readonly number[];
}

const DIGEST_TLV = TLV_HEAD + WMMP_TAGS.digest.codec.max;

/**
 * Decodes one whole frame of version 3.0 or 3.1.
 *
 * @param way `up`: it came from a terminal; `down`: from a gateway
 */
export function decodeWmmp(
  header: ReadHeader,
  bytes: Buffer,
  way: 'up' | 'down' = 'up',
): WmmpMessage | Fault {
  const command = wmmpCommandName(header.command);
  const body = wmmpBody(header.command, way);
  if (command === undefined || body === undefined) return fault('command-unknown', 2);
  const fixed = readFixed(bytes, body);
  if (isFault(fixed)) return fixed;
  const rest =
    body.rest === 'unknown' ? readUnknown(bytes, fixed.end) : readTlvs(bytes, fixed.end, body.rest);
  if (isFault(rest)) return rest;
  const { tlvs, tags, digestAt } = rest;
  return {
    header,
    command,
    isResponse: (header.command & RESPONSE_BIT) !== 0,
    fields: sharedFields(fixed.values, tlvs),
    fixed: fixed.values,
    tlvs,
    tags,
    digest: tlvs.digest,
    covered: bytes.subarray(0, digestAt),
  };
}

function readFixed(bytes: Buffer, { fixed }: WmmpBody): { values: FixedFields; end: number } | Fault {
  const values: Record<string, unknown> = {};
  let offset = HEADER_SIZE;
  for (const name of fixed) {
    const codec = fixedCodec(name);
    const end = offset + codec.max;
    if (end > bytes.length) return fault('body-too-short', offset, name);
    values[name] = codec.read(bytes.subarray(offset, end));
    offset = end;
  }
  return { values, end: offset };
}

interface Rest {
  readonly tlvs: WmmpTlvs;
  readonly tags: readonly number[];
  readonly digestAt: number;
}

function readTlvs(bytes: Buffer, start: number, known: readonly string[]): Rest | Fault {
  const found = walkTlvs(bytes, start);
  if (isFault(found)) return found;
  const tlvs: WmmpTlvs = {};
  for (const tlv of found) {
    const wrong = readTlv(tlv, known, tlvs, tlv === found.at(-1));
    if (wrong !== undefined) return wrong;
  }
  const digest = tlvs.digest === undefined ? undefined : found.pop();
  return { tlvs, tags: found.map(({ tag }) => tag), digestAt: digest?.offset ?? bytes.length };
}

/** Stacks send TLVs of their own, and those of other commands: only what this body is read for is judged. */
function readTlv(tlv: Tlv, known: readonly string[], into: WmmpTlvs, isLast: boolean): Fault | undefined {
  const name = wmmpTagName(tlv.tag);
  if (name === undefined || !(name === 'digest' || known.includes(name))) return undefined;
  if (name === 'digest' && !isLast) return fault('digest-not-last', tlv.offset);
  if (into[name] !== undefined) return fault('tag-twice', tlv.offset, hexTag(tlv.tag));
  const { codec } = wmmpTagRow(name);
  if (tlv.value.length < codec.min || tlv.value.length > codec.max) {
    return fault(
      name === 'digest' ? 'digest-length' : 'value-length',
      tlv.offset,
      `${hexTag(tlv.tag)} of ${tlv.value.length}`,
    );
  }
  (into as Record<string, unknown>)[name] = codec.read(tlv.value);
  return undefined;
}

function readUnknown(bytes: Buffer, start: number): Rest {
  const at = bytes.length - DIGEST_TLV;
  const hasDigest =
    at >= start &&
    bytes.readUInt16BE(at) === WMMP_TAGS.digest.tag &&
    bytes.readUInt16BE(at + 2) === WMMP_TAGS.digest.codec.max;
  return hasDigest
    ? { tlvs: { digest: bytes.subarray(at + TLV_HEAD) }, tags: [], digestAt: at }
    : { tlvs: {}, tags: [], digestAt: bytes.length };
}

/** What a login says in either dialect, by the names that the rules of a login know. */
function sharedFields({ softwareVersion }: FixedFields, { baseKeyDigest }: WmmpTlvs): Fields {
  const firmware = softwareVersion
    ?.toString('latin1')
    .replace(/[\0 ]+$/, '')
    .replace(/[^\x20-\x7e]/g, '?');
  return {
    ...(firmware !== undefined && firmware !== '' && { firmware }),
    ...(baseKeyDigest !== undefined && { sessionKeyRequest: true as const, baseKeyDigest }),
  };
}
