/**
 * The 28-byte header that frames of version 4.0 and of WMMP 3.0 share (docs/protocol.md, "Frame").
 *
 *     length u16 | command u16 | sequence u32 | version u16 | suite u8 | result u8 | serial [16]
 *
 * WMMP reads the same two bytes as "security" and "reserved".
 */
import { Parser } from 'binary-parser';

export const HEADER_SIZE = 28;
export const SERIAL_SIZE = 16;
export const RESPONSE_BIT = 0x8000;
export const VERSION_4_0 = 0x0400;
export const WMMP_VERSIONS: readonly number[] = [0x0300, 0x0301];
/** The length field has 16 bits. */
export const LARGEST_FRAME = 0xffff;

export interface Header {
  /** Bytes of the whole frame, header and digest included. */
  readonly length: number;
  /** Bit 15 is set on a response. */
  readonly command: number;
  /** Chosen by whoever asks, echoed by whoever answers. */
  readonly sequence: number;
  readonly version: number;
  /** Digest suite; the security byte in WMMP 3.0. */
  readonly suite: number;
  /** Result code of a response, 0 in a request. */
  readonly result: number;
  /** The 16 bytes as they came, padding included. */
  readonly serial: Buffer;
}

/** A header as it came. */
export interface ReadHeader extends Header {
  /** The serial as text, read once for all who ask; undefined where it is none. */
  readonly serialText: string | undefined;
}

const layout = new Parser()
  .endianness('big')
  .uint16('length')
  .uint16('command')
  .uint32('sequence')
  .uint16('version')
  .uint8('suite')
  .uint8('result')
  .buffer('serial', { length: SERIAL_SIZE });

export function isWmmp(version: number): boolean {
  return WMMP_VERSIONS.includes(version);
}

/**
 * Reads a header. The caller has made sure that 28 bytes are there: binary-parser returns short
 * buffers from short input instead of complaining.
 */
export function readHeader(bytes: Buffer): ReadHeader {
  // A new object follows: binary-parser deletes from the one that it makes, and V8 is slow with such from then on.
  const { length, command, sequence, version, suite, result, serial } = layout.parse(bytes) as Header;
  const text = serialText(serial);
  return { length, command, sequence, version, suite, result, serial, serialText: text };
}

/** Writes a header into the first 28 bytes of `target`. */
export function writeHeader(target: Buffer, header: Header): void {
  target.writeUInt16BE(header.length, 0);
  target.writeUInt16BE(header.command, 2);
  target.writeUInt32BE(header.sequence, 4);
  target.writeUInt16BE(header.version, 8);
  target.writeUInt8(header.suite, 10);
  target.writeUInt8(header.result, 11);
  target.set(header.serial, 12);
}

const SERIAL = /^[A-Za-z0-9._-]{1,16}$/;

/** The serial as text, or undefined where its bytes are not 1 to 16 permitted characters and zeros behind them. */
export function serialText(serial: Buffer): string | undefined {
  const zero = serial.indexOf(0);
  const end = zero < 0 ? SERIAL_SIZE : zero;
  for (let i = end; i < SERIAL_SIZE; i++) if (serial[i] !== 0) return undefined;
  const text = serial.toString('latin1', 0, end);
  return SERIAL.test(text) ? text : undefined;
}

/** The serial's 16 bytes, padded with zeros. Throws a RangeError for a text that is no serial. */
export function serialBytes(text: string): Buffer {
  if (!SERIAL.test(text)) throw new RangeError(`serial: 1 to 16 of A-Z a-z 0-9 . _ -, not "${text}"`);
  const bytes = Buffer.alloc(SERIAL_SIZE);
  bytes.write(text, 'latin1');
  return bytes;
}
