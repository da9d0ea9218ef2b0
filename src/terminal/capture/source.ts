/** What the readers of capture files read from, and what they say where a file is none. */

/**
 * The next bytes of a capture file.
 *
 * @param size in bytes; bounded by the caller before it asks
 * @returns that many bytes, or fewer only where the file ends
 */
export type ByteSource = (size: number) => Buffer;

/** One link-layer packet as it was captured. */
export interface CapturedPacket {
  /** Nanoseconds since 1970; undefined where the format keeps none (pcapng Simple Packet). */
  readonly time: bigint | undefined;
  /** https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype-02.html */
  readonly linkType: number;
  readonly bytes: Buffer;
}

/** The file is not what it must be, or ends too early: its message says where. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
}

/** What libpcap itself takes for the largest packet (MAXIMUM_SNAPLEN). */
export const LARGEST_PACKET = 262_144;

/** Reads integers of either byte order at offsets into a buffer whose size the caller has made sure of. */
export interface Integers {
  u16(bytes: Buffer, at: number): number;
  u32(bytes: Buffer, at: number): number;
  i64(bytes: Buffer, at: number): bigint;
}

export const BIG: Integers = {
  u16: (bytes, at) => bytes.readUInt16BE(at),
  u32: (bytes, at) => bytes.readUInt32BE(at),
  i64: (bytes, at) => bytes.readBigInt64BE(at),
};

export const LITTLE: Integers = {
  u16: (bytes, at) => bytes.readUInt16LE(at),
  u32: (bytes, at) => bytes.readUInt32LE(at),
  i64: (bytes, at) => bytes.readBigInt64LE(at),
};

/** @throws CaptureError where the file ends before `size` bytes are there; `what` is what they belong to */
export function readAll(source: ByteSource, size: number, what: string): Buffer {
  const bytes = source(size);
  if (bytes.length < size) throw new CaptureError(`the file ends within ${what}`);
  return bytes;
}
