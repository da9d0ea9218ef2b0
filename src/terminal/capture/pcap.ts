/** The classic capture format of libpcap: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html */
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

interface Variant {
  readonly order: Integers;
  /** Of one unit of a record's second time field. */
  readonly nanoseconds: bigint;
}

/** By the file's first four bytes. */
const VARIANTS: ReadonlyMap<string, Variant> = new Map([
  ['a1b2c3d4', { order: BIG, nanoseconds: 1000n }],
  ['d4c3b2a1', { order: LITTLE, nanoseconds: 1000n }],
  ['a1b23c4d', { order: BIG, nanoseconds: 1n }],
  ['4d3cb2a1', { order: LITTLE, nanoseconds: 1n }],
]);

const FILE_HEADER = 24;
const RECORD_HEADER = 16;

/** @param magic the file's first four bytes, which have been read */
export function isPcap(magic: Buffer): boolean {
  return VARIANTS.has(magic.toString('hex'));
}

/**
 * Every packet of a file whose magic has been read.
 *
 * @throws CaptureError for an unknown version, a packet above 262,144 bytes, and where the file ends within one
 */
export function* readPcap(magic: Buffer, source: ByteSource): Generator<CapturedPacket> {
  const variant = VARIANTS.get(magic.toString('hex'));
  if (variant === undefined) throw new CaptureError('not a pcap file');
  const { order } = variant;
  const header = readAll(source, FILE_HEADER - magic.length, 'the file header');
  const major = order.u16(header, 0);
  if (major !== 2) throw new CaptureError(`pcap of version ${major}, where 2 is known`);
  // The upper half tells about the frame check sequence behind each packet.
  const linkType = order.u32(header, 16) & 0xffff;
  for (let number = 1; ; number++) {
    const packet = readRecord(source, variant, linkType, number);
    if (packet === undefined) return;
    yield packet;
  }
}

function readRecord(
  source: ByteSource,
  { order, nanoseconds }: Variant,
  linkType: number,
  number: number,
): CapturedPacket | undefined {
  const head = source(RECORD_HEADER);
  if (head.length === 0) return undefined;
  if (head.length < RECORD_HEADER) throw new CaptureError(`the file ends within packet ${number}`);
  const size = order.u32(head, 8);
  if (size > LARGEST_PACKET) throw new CaptureError(`packet ${number} claims ${size} bytes`);
  const time = BigInt(order.u32(head, 0)) * 1_000_000_000n + BigInt(order.u32(head, 4)) * nanoseconds;
  return { time, linkType, bytes: readAll(source, size, `packet ${number}`) };
}
