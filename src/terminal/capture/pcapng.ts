/**
 * The capture format of Wireshark and dumpcap: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html
 *
 *     block = type u32 | total length u32 | body, padded to 4 | total length u32
 */
import {
  BIG,
  CaptureError,
  LARGEST_PACKET,
  LITTLE,
  readAll,
  type ByteSource,
  type CapturedPacket,
  type Integers,
} from './source';

/** The type of a Section Header Block, which reads the same in both byte orders. */
const SECTION_HEADER = '0a0d0d0a';
const INTERFACE_DESCRIPTION = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const READ_TYPES: ReadonlySet<number> = new Set([INTERFACE_DESCRIPTION, SIMPLE_PACKET, ENHANCED_PACKET]);

/** Type and both lengths. */
const BLOCK_OVERHEAD = 12;
/** A packet of the largest size with 64 KiB of options behind it. */
const LARGEST_BLOCK = LARGEST_PACKET + 65_536;
/** Interfaces are kept for as long as their section lasts. */
const MOST_INTERFACES = 4096;
const SKIP_STEP = 65_536;

interface Interface {
  readonly linkType: number;
  /** 0: no limit. */
  readonly snapLength: number;
  readonly unitsPerSecond: bigint;
  /** Seconds to be added. */
  readonly offset: bigint;
}

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

/** @param magic the file's first four bytes */
export function isPcapng(magic: Buffer): boolean {
  return magic.toString('hex') === SECTION_HEADER;
}

/**
 * Every packet of a file whose first four bytes have been read; blocks of other kinds are passed over.
 *
 * @throws CaptureError for lengths out of bounds, packets of no interface, and where the file ends within a block
 */
export function* readPcapng(magic: Buffer, source: ByteSource): Generator<CapturedPacket> {
  let order = BIG;
  let interfaces: Interface[] = [];
  let type = magic;
  for (let number = 1; type.length > 0; number++, type = source(4)) {
    const what = `block ${number}`;
    if (type.length < 4) throw new CaptureError(`the file ends within ${what}`);
    if (isPcapng(type)) {
      order = readSectionHeader(source, what);
      interfaces = [];
      continue;
    }
    const block = readBlock(source, order, order.u32(type, 0), what);
    if (block?.type === INTERFACE_DESCRIPTION) addInterface(interfaces, block.body, order, what);
    else if (block !== undefined) yield readPacket(block, interfaces, order, what);
  }
}

/** Reads a section header behind its type. @returns the byte order of the section */
function readSectionHeader(source: ByteSource, what: string): Integers {
  const head = readAll(source, 8, what);
  const order = [BIG, LITTLE].find((one) => one.u32(head, 4) === 0x1a2b3c4d);
  if (order === undefined) throw new CaptureError(`${what}: a section header without byte-order magic`);
  const total = order.u32(head, 0);
  // Version and section length are always there.
  if (total < 28 || total % 4 !== 0) throw new CaptureError(`${what} claims ${total} bytes`);
  const major = order.u16(readAll(source, 4, what), 0);
  if (major !== 1) throw new CaptureError(`pcapng of version ${major}, where 1 is known`);
  skip(source, total - 16, what);
  return order;
}

/** Reads a block behind its type. Undefined: its kind is not read here, and it has been skipped. */
function readBlock(source: ByteSource, order: Integers, type: number, what: string): Block | undefined {
  const total = order.u32(readAll(source, 4, what), 0);
  if (total < BLOCK_OVERHEAD || total % 4 !== 0) throw new CaptureError(`${what} claims ${total} bytes`);
  if (!READ_TYPES.has(type)) {
    skip(source, total - 8, what);
    return undefined;
  }
  if (total > LARGEST_BLOCK) throw new CaptureError(`${what} claims ${total} bytes`);
  const rest = readAll(source, total - 8, what);
  return { type, body: rest.subarray(0, -4) };
}

function skip(source: ByteSource, size: number, what: string): void {
  for (let left = size; left > 0; left -= SKIP_STEP) readAll(source, Math.min(left, SKIP_STEP), what);
}

function addInterface(interfaces: Interface[], body: Buffer, order: Integers, what: string): void {
  if (body.length < 8) throw new CaptureError(`${what}: an interface description of ${body.length} bytes`);
  if (interfaces.length >= MOST_INTERFACES)
    throw new CaptureError(`${what}: more than ${MOST_INTERFACES} interfaces`);
  const options = readOptions(body.subarray(8), order);
  const [resolution, offset] = [options.get(9), options.get(14)];
  interfaces.push({
    linkType: order.u16(body, 0),
    snapLength: order.u32(body, 4),
    unitsPerSecond: resolution?.length === 1 ? unitsOf(resolution.readUInt8(0)) : 1_000_000n,
    offset: offset?.length === 8 ? order.i64(offset, 0) : 0n,
  });
}

/** `if_tsresol`: a negative power of 10, or of 2 where the top bit is set. */
function unitsOf(resolution: number): bigint {
  return (resolution & 0x80 ? 2n : 10n) ** BigInt(resolution & 0x7f);
}

/** Values by option code; what is cut off is left out. */
function readOptions(bytes: Buffer, order: Integers): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length;) {
    const [code, size] = [order.u16(bytes, at), order.u16(bytes, at + 2)];
    if (code === 0 || at + 4 + size > bytes.length) break;
    found.set(code, bytes.subarray(at + 4, at + 4 + size));
    at += 4 + Math.ceil(size / 4) * 4;
  }
  return found;
}

function readPacket(
  { type, body }: Block,
  interfaces: readonly Interface[],
  order: Integers,
  what: string,
): CapturedPacket {
  const fixed = type === ENHANCED_PACKET ? 20 : 4;
  if (body.length < fixed) throw new CaptureError(`${what}: a packet block of ${body.length} bytes`);
  const from = interfaces[type === ENHANCED_PACKET ? order.u32(body, 0) : 0];
  if (from === undefined) throw new CaptureError(`${what}: a packet of an interface that is not described`);
  const { linkType } = from;
  if (type === SIMPLE_PACKET) {
    const limit = Math.min(from.snapLength || LARGEST_PACKET, body.length - fixed);
    return {
      time: undefined,
      linkType,
      bytes: body.subarray(fixed, fixed + Math.min(order.u32(body, 0), limit)),
    };
  }
  const size = order.u32(body, 12);
  if (size > body.length - fixed) throw new CaptureError(`${what}: a packet that claims ${size} bytes`);
  const units = (BigInt(order.u32(body, 4)) << 32n) | BigInt(order.u32(body, 8));
  return { time: nanoseconds(units, from), linkType, bytes: body.subarray(fixed, fixed + size) };
}

function nanoseconds(units: bigint, { unitsPerSecond, offset }: Interface): bigint {
  return (units * 1_000_000_000n) / unitsPerSecond + offset * 1_000_000_000n;
}
