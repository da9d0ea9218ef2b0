/** A frame of WMMP 3.0 field by field, and what is wrong with it (docs/wmmp.md, "Frame" and "Commands"). */
import { fault, isFault, type Fault } from '../../protocol/faults';
import { HEADER_SIZE, RESPONSE_BIT, type ReadHeader } from '../../protocol/header';
import { versionText } from '../../protocol/judge';
import { wireName } from '../../protocol/tags';
import { hexTag, TLV_HEAD } from '../../protocol/tlv';
import { fixedCodec, wmmpBody, wmmpCommandName, type FixedName } from '../../protocol/wmmp/commands';
import { decodeWmmp } from '../../protocol/wmmp/decode';
import { WMMP_TAGS, wmmpTagName, wmmpTagRow } from '../../protocol/wmmp/tags';
import { describeTlvs, readableTlvs } from '../describeTlvs';
import type { DescribedField, DescribedTlv, DescribedWmmp, Direction } from '../frameTable';

export function describeWmmp(
  header: ReadHeader,
  bytes: Buffer,
  direction: Direction,
  showSecrets: boolean,
): DescribedWmmp {
  const version = versionText(header.version);
  return {
    direction,
    dialect: `WMMP ${version}`,
    length: header.length,
    command: wmmpCommandName(header.command) ?? hexTag(header.command),
    response: (header.command & RESPONSE_BIT) !== 0,
    sequence: header.sequence,
    version,
    security: header.suite,
    reserved: header.result,
    serial: header.serialText ?? header.serial.toString('hex'),
    ...describeBody(header, bytes, direction, showSecrets),
  };
}

/** Undefined where the layout of the body is not known. */
export function wmmpTlvStart(header: ReadHeader, way: Direction): number | undefined {
  const body = wmmpBody(header.command, way);
  if (body === undefined || body.rest === 'unknown') return undefined;
  return HEADER_SIZE + sizeOf(body.fixed);
}

/** As a gateway judges what comes up, and a terminal what comes down: a digest that must be there among it. */
export function judgeWmmp(header: ReadHeader, bytes: Buffer, way: Direction): Fault | undefined {
  const message = decodeWmmp(header, bytes, way);
  if (isFault(message)) return message;
  const isMissing = message.digest === undefined && wmmpBody(header.command, way)?.digest === 'required';
  return isMissing ? fault('digest-missing', bytes.length) : undefined;
}

type DescribedBody = Pick<DescribedWmmp, 'fixed' | 'tlvs'>;

function describeBody(
  header: ReadHeader,
  bytes: Buffer,
  way: Direction,
  showSecrets: boolean,
): DescribedBody {
  const body = wmmpBody(header.command, way);
  if (body === undefined) return { fixed: [], tlvs: [] };
  const end = header.length >= HEADER_SIZE ? Math.min(header.length, bytes.length) : bytes.length;
  const fixed = describeFixed(body.fixed, bytes.subarray(0, end));
  const start = HEADER_SIZE + sizeOf(body.fixed);
  if (start > end) return { fixed, tlvs: [] };
  const described = (from: number): readonly DescribedTlv[] =>
    describeTlvs(readableTlvs(header, bytes, from), namedInWmmp, showSecrets);
  if (body.rest !== 'unknown') return { fixed, tlvs: described(start) };
  const digestAt = end - TLV_HEAD - WMMP_TAGS.digest.codec.max;
  const hasDigest = digestAt >= start && bytes.readUInt16BE(digestAt) === WMMP_TAGS.digest.tag;
  const rest = bytes.subarray(start, hasDigest ? digestAt : end);
  const field = { offset: start, name: 'REST', length: rest.length, value: rest.toString('hex') };
  return {
    fixed: rest.length === 0 ? fixed : [...fixed, field],
    tlvs: hasDigest ? described(digestAt) : [],
  };
}

function sizeOf(names: readonly FixedName[]): number {
  return names.reduce((sum, name) => sum + fixedCodec(name).max, 0);
}

/** As far as they are there. */
function describeFixed(names: readonly FixedName[], bytes: Buffer): DescribedField[] {
  const fields: DescribedField[] = [];
  let offset = HEADER_SIZE;
  for (const name of names) {
    const { max: length } = fixedCodec(name);
    if (offset + length > bytes.length) break;
    const value = fixedValue(name, bytes.subarray(offset, offset + length));
    fields.push({ offset, name: wireName(name), length, value });
    offset += length;
  }
  return fields;
}

/** Fields that hold text, padded with zeros. */
const TEXTS: ReadonlySet<FixedName> = new Set<FixedName>(['softwareVersion', 'imei', 'imsi', 'serial']);

function fixedValue(name: FixedName, bytes: Buffer): string | number {
  const value = fixedCodec(name).read(bytes);
  if (typeof value === 'number') return value;
  const text = bytes.toString('latin1').replace(/\0+$/, '');
  return TEXTS.has(name) && /^[\x20-\x7e]+$/.test(text) ? text : bytes.toString('hex');
}

function namedInWmmp(tag: number) {
  const name = wmmpTagName(tag);
  return name && { name, row: wmmpTagRow(name) };
}
