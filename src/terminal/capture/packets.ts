/** A capture file of any known format as packets in the order of their times. */
import { isPcap, readPcap } from './pcap';
import { isPcapng, readPcapng } from './pcapng';
import { CaptureError, type ByteSource, type CapturedPacket } from './source';

/** A packet with a time: its own, or that of the packet before it. */
export interface TimedPacket extends CapturedPacket {
  /** Nanoseconds since 1970. */
  readonly time: bigint;
}

/** Captures of several interfaces or queues are a little out of order: packets are sorted within these bounds. */
const WINDOW_PACKETS = 1000;
const WINDOW_BYTES = 16 * 1024 * 1024;

/** @throws CaptureError where the file is no capture, or ends within a packet: what stands before it is yielded first */
export function* readPackets(source: ByteSource): Generator<TimedPacket> {
  const window: TimedPacket[] = [];
  let bytes = 0;
  let wrong: Error | undefined;
  try {
    for (const packet of timed(readFormat(source))) {
      insert(window, packet);
      bytes += packet.bytes.length;
      while (window.length > WINDOW_PACKETS || bytes > WINDOW_BYTES) {
        const first = window.shift();
        if (first === undefined) break;
        bytes -= first.bytes.length;
        yield first;
      }
    }
  } catch (error) {
    wrong = error as Error;
  }
  yield* window;
  if (wrong !== undefined) throw wrong;
}

function readFormat(source: ByteSource): Generator<CapturedPacket> {
  const magic = source(4);
  if (isPcap(magic)) return readPcap(magic, source);
  if (isPcapng(magic)) return readPcapng(magic, source);
  throw new CaptureError(notACapture(magic));
}

function notACapture(magic: Buffer): string {
  if (magic.length === 0) return 'the file is empty';
  const first = magic.toString('hex');
  if (first.startsWith('1f8b')) return 'the file is compressed: gunzip it first';
  return `neither pcap nor pcapng: it begins with ${first}`;
}

function* timed(packets: Iterable<CapturedPacket>): Generator<TimedPacket> {
  let last = 0n;
  for (const packet of packets) {
    last = packet.time ?? last;
    yield { ...packet, time: last };
  }
}

/** From behind, where it nearly always belongs; packets of the same time stay as they came. */
function insert(window: TimedPacket[], packet: TimedPacket): void {
  let at = window.length;
  while (at > 0 && (window[at - 1]?.time ?? 0n) > packet.time) at--;
  window.splice(at, 0, packet);
}
