/** Capture files by hand: the formats' fields, one by one, in either byte order. */

export type Order = 'big' | 'little';

export function wide(order: Order, size: 2 | 4, ...values: number[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.from(value.toString(16).padStart(size * 2, '0'), 'hex');
      return order === 'big' ? bytes : bytes.reverse();
    }),
  );
}
export const be16 = (...values: number[]): Buffer => wide('big', 2, ...values);
export const be32 = (...values: number[]): Buffer => wide('big', 4, ...values);

export interface Packet {
  readonly bytes: Buffer;
  /** Microseconds since 1970. */
  readonly at: number;
}

export interface PcapOptions {
  readonly order?: Order;
  readonly nanoseconds?: boolean;
  /** LINKTYPE_ number; default: raw IP. */
  readonly link?: number;
}

export function pcap(packets: readonly Packet[], options: PcapOptions = {}): Buffer {
  const { order = 'little', nanoseconds = false, link = 101 } = options;
  const u32s = (...values: number[]) => wide(order, 4, ...values);
  const magic = nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  const head = [u32s(magic), wide(order, 2, 2, 4), u32s(0, 0, 262144, link)];
  const records = packets.flatMap(({ bytes, at }) => [
    u32s(Math.floor(at / 1e6), (at % 1e6) * (nanoseconds ? 1000 : 1), bytes.length, bytes.length),
    bytes,
  ]);
  return Buffer.concat([...head, ...records]);
}

function block(order: Order, type: number, ...body: Buffer[]): Buffer {
  const content = Buffer.concat(body);
  const padded = Buffer.concat([content], Math.ceil(content.length / 4) * 4);
  const total = wide(order, 4, padded.length + 12);
  return Buffer.concat([wide(order, 4, type), total, padded, total]);
}

/** Times in units of 2^-20 s, an offset of 1000 s, and a block of a kind that is not read. */
export function pcapng(packets: readonly Packet[], order: Order = 'little', simple = false): Buffer {
  const [u16s, u32s] = [
    (...values: number[]) => wide(order, 2, ...values),
    (...values: number[]) => wide(order, 4, ...values),
  ];
  const section = block(
    order,
    0x0a0d0d0a,
    u32s(0x1a2b3c4d),
    u16s(1, 0),
    u32s(0xffffffff, 0xffffffff),
    u16s(4, 4),
    Buffer.from('test'),
    u32s(0),
  );
  const offset = order === 'big' ? u32s(0, 1000) : u32s(1000, 0);
  const description = block(
    order,
    1,
    u16s(101, 0),
    u32s(0),
    u16s(9, 1),
    Buffer.of(0x94, 0, 0, 0),
    u16s(14, 8),
    offset,
    u32s(0),
  );
  const statistics = block(order, 5, Buffer.alloc(100_000));
  const blocks = packets.map(({ bytes, at }) => {
    if (simple) return block(order, 3, u32s(bytes.length), bytes);
    const units = Math.floor((at / 1e6 - 1000) * 2 ** 20);
    const time = u32s(Math.floor(units / 2 ** 32), units % 2 ** 32);
    return block(order, 6, u32s(0), time, u32s(bytes.length, bytes.length), bytes);
  });
  return Buffer.concat([section, description, statistics, ...blocks]);
}

export const SYN = 2;
export const FIN = 1;
export const RST = 4;

export interface SegmentOptions {
  readonly up?: boolean;
  readonly flags?: number;
  readonly payload?: Buffer;
  readonly terminalPort?: number;
}

// Uplink wraps around soon after it has begun.
const FIRST = { up: 2 ** 32 - 100, down: 7000 };

/** A TCP segment from or to port 7750; `sequence` counts from the first byte of data. */
export function tcp(sequence: number, options: SegmentOptions = {}): Buffer {
  const { up = true, flags = 0, payload = Buffer.alloc(0), terminalPort = 40000 } = options;
  const ports = up ? [terminalPort, 7750] : [7750, terminalPort];
  const raw = (FIRST[up ? 'up' : 'down'] + sequence - (flags & SYN ? 1 : 0)) % 2 ** 32;
  const rest = [Buffer.of(0x50, 0x10 | flags), be16(1000, 0, 0), payload];
  return Buffer.concat([be16(...ports), be32(raw, 0), ...rest]);
}

const TERMINAL = Buffer.of(10, 0, 0, 1);
const GATEWAY = Buffer.of(10, 0, 0, 2);

export function ipv4(segment: Buffer): Buffer {
  const ends = segment.readUInt16BE(2) === 7750 ? [TERMINAL, GATEWAY] : [GATEWAY, TERMINAL];
  const head = [Buffer.of(0x45, 0), be16(20 + segment.length, 1, 0), Buffer.of(64, 6), be16(0), ...ends];
  return Buffer.concat([...head, segment]);
}
