/**
 * From a frame to a typed message, or to the first fault with its offset. Every check here is on bytes alone;
 * whether a digest is right is asked elsewhere.
 */
import { commandName, commandRow, REFUSAL_RESPONSE, UNSIGNED_RESPONSE } from './commands';
import type { BodyShape, CommandName } from './commands';
import { fault, isFault, type Fault } from './faults';
import { HEADER_SIZE, RESPONSE_BIT, type Header, type ReadHeader } from './header';
import { resultName, RESULTS } from './results';
import { isSignedSuite, MD5, SUITES, UNSIGNED } from './suites';
import { fieldOf, isSkippable, rowOf, TAGS, wireName, type FieldName, type Fields } from './tags';
import { hexTag, walkTlvs, type Tlv } from './tlv';

/** A frame of either dialect, read. */
export interface Decoded<Command extends string = string> {
  readonly header: ReadHeader;
  readonly command: Command;
  readonly isResponse: boolean;
  readonly fields: Readonly<Fields>;
  /** Absent where the frame carries none. */
  readonly digest: Buffer | undefined;
  /** What the digest covers: the frame's bytes before its digest TLV. */
  readonly covered: Buffer;
  /** The same bytes came just before on this connection, and got no answer. */
  readonly isRepeat?: boolean;
}

/** One of version 4.0. */
export type Message = Decoded<CommandName>;

/** Decodes one whole frame of version 4.0 whose header has been judged. */
export function decode(header: ReadHeader, bytes: Buffer): Message | Fault {
  const command = commandName(header.command);
  if (command === undefined) return fault('command-unknown', 2);
  const isResponse = (header.command & RESPONSE_BIT) !== 0;
  const shape = bodyShape(command, isResponse, header.result);
  if (shape === undefined) return fault('command-unknown', 2);
  const tlvs = walkTlvs(bytes, HEADER_SIZE);
  if (isFault(tlvs)) return tlvs;
  const digest = takeDigest(tlvs, header, command, bytes.length);
  if (digest !== undefined && isFault(digest)) return digest;
  const fields = readFields(tlvs, header.suite, shape, bytes.length);
  if (isFault(fields)) return fields;
  return {
    header,
    command,
    isResponse,
    fields,
    digest: digest?.value,
    covered: bytes.subarray(0, digest?.offset ?? bytes.length),
  };
}

/** Which TLVs a message takes: a response's result decides, by its row in RESULTS. */
function bodyShape(command: CommandName, isResponse: boolean, result: number): BodyShape | undefined {
  const row = commandRow(command);
  if (!isResponse) return row.request;
  const name = resultName(result);
  if (name === undefined || !RESULTS[name].signed) return UNSIGNED_RESPONSE;
  return name === 'OK' || name === 'WAIT_FOR_SMS' ? row.response : REFUSAL_RESPONSE;
}

/** Removes the digest from the list's end, and tells what is wrong with it. */
function takeDigest(tlvs: Tlv[], header: Header, command: CommandName, end: number): Tlv | undefined | Fault {
  const at = tlvs.findIndex((tlv) => tlv.tag === TAGS.digest.tag);
  const digest = tlvs[at];
  if (digest === undefined) return header.suite === UNSIGNED ? undefined : fault('digest-missing', end);
  if (at !== tlvs.length - 1) return fault('digest-not-last', digest.offset);
  if (!isSignedSuite(header.suite)) return fault('digest-unsigned', digest.offset);
  if (commandRow(command).signed === 'no') return fault('suite-on-unsigned', 10);
  if (digest.value.length !== SUITES[header.suite].digestSize) return fault('digest-length', digest.offset);
  tlvs.pop();
  return digest;
}

function readFields(tlvs: readonly Tlv[], suite: number, shape: BodyShape, end: number): Fields | Fault {
  const fields: Fields = {};
  const seen = new Set<number>();
  for (const tlv of tlvs) {
    if (seen.has(tlv.tag)) return fault('tag-twice', tlv.offset, hexTag(tlv.tag));
    seen.add(tlv.tag);
    const name = fieldOf(tlv.tag);
    const wrong = name === undefined ? refuseUnknown(tlv, suite) : readField(fields, name, tlv, shape);
    if (wrong !== undefined) return wrong;
  }
  return missing(fields, shape, end) ?? fields;
}

function refuseUnknown(tlv: Tlv, suite: number): Fault | undefined {
  if (!isSkippable(tlv.tag)) return fault('tag-unknown', tlv.offset, hexTag(tlv.tag));
  // Bytes that an attacker on the path may choose are what breaks a digest with the secret at its end.
  return suite === MD5 ? fault('tag-skippable-under-md5', tlv.offset, hexTag(tlv.tag)) : undefined;
}

function readField(fields: Fields, name: FieldName, tlv: Tlv, shape: BodyShape): Fault | undefined {
  if (!shape.permitted.has(name)) return fault('tag-not-here', tlv.offset, wireName(name));
  const { codec } = rowOf(name);
  if (tlv.value.length < codec.min || tlv.value.length > codec.max) {
    return fault('value-length', tlv.offset, `${wireName(name)} of ${tlv.value.length}`);
  }
  const value = codec.read(tlv.value);
  if (value === undefined) return fault('value-invalid', tlv.offset, wireName(name));
  (fields as Record<string, unknown>)[name] = value;
  return undefined;
}

function missing(fields: Fields, shape: BodyShape, end: number): Fault | undefined {
  const has = (name: FieldName) => (fields as Record<string, unknown>)[name] !== undefined;
  for (const name of shape.required) if (!has(name)) return fault('tag-missing', end, wireName(name));
  for (const [one, other] of shape.pairs) {
    if (has(one) !== has(other)) return fault('tag-alone', end, wireName(has(one) ? one : other));
  }
  return undefined;
}
