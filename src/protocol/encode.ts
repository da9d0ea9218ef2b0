/** From a message to a frame. Signing is the caller's: it alone knows the secrets. */
import { HEADER_SIZE, writeHeader, type Header } from './header';
import { SUITES, UNSIGNED, type SignedSuite } from './suites';
import { rowOf, TAGS, type FieldName, type Fields } from './tags';
import { TLV_HEAD, writeTlv } from './tlv';
import type { BodyShape } from './commands';

export type Sign = (covered: Buffer) => Buffer;

export interface Outgoing {
  readonly header: Omit<Header, 'length' | 'suite'>;
  readonly fields: Readonly<Fields>;
  /** Decides the order in which the fields are written. */
  readonly shape: BodyShape;
}

/** An unsigned frame: suite 0, no digest. */
export function encodeUnsigned(message: Outgoing): Buffer {
  return layOut(message, UNSIGNED, 0).frame;
}

/** A frame with its digest TLV at the end; the length under the digest already counts it. */
export function encodeSigned(message: Outgoing, suite: SignedSuite, sign: Sign): Buffer {
  const { frame, bodyEnd } = layOut(message, suite, TLV_HEAD + SUITES[suite].digestSize);
  writeTlv(frame, bodyEnd, TAGS.digest.tag, sign(frame.subarray(0, bodyEnd)));
  return frame;
}

function layOut(message: Outgoing, suite: number, digestRoom: number): { frame: Buffer; bodyEnd: number } {
  const values = valuesInOrder(message);
  const bodyEnd = values.reduce((sum, [, value]) => sum + TLV_HEAD + value.length, HEADER_SIZE);
  const frame = Buffer.allocUnsafe(bodyEnd + digestRoom);
  // Cloning an object with a number beyond 31 bits takes Node 20 as long as all the rest of this.
  const { command, sequence, version, result, serial } = message.header;
  writeHeader(frame, { length: frame.length, command, sequence, version, suite, result, serial });
  let offset = HEADER_SIZE;
  for (const [tag, value] of values) offset = writeTlv(frame, offset, tag, value);
  return { frame, bodyEnd };
}

function valuesInOrder(message: Outgoing): [tag: number, value: Buffer][] {
  const values: [number, Buffer][] = [];
  for (const name of message.shape.order) {
    const value = fieldValue(message.fields, name);
    if (value === undefined) continue;
    const row = rowOf(name);
    values.push([row.tag, row.codec.write(value)]);
  }
  return values;
}

function fieldValue(fields: Readonly<Fields>, name: FieldName): unknown {
  return (fields as Record<string, unknown>)[name];
}
