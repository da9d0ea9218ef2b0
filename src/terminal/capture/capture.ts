/** A capture file in, the gateway's frames out, in the order of time. Nothing is held for longer than it must be. */
import { Connections, type CaptureEvent } from './connections';
import { readPackets } from './packets';
import { readSegment } from './segments';
import type { ByteSource } from './source';

export type { CaptureEvent } from './connections';
export { CaptureError, type ByteSource } from './source';

/**
 * @param port the gateway's
 * @throws CaptureError where the file is no capture, or ends within a packet: what stands before it is yielded first
 */
export function* readCapture(source: ByteSource, port: number): Generator<CaptureEvent> {
  const connections = new Connections(port);
  let time = 0n;
  let wrong: Error | undefined;
  try {
    for (const packet of readPackets(source)) {
      ({ time } = packet);
      const segment = readSegment(packet);
      if (segment !== undefined) yield* connections.take(segment, time);
    }
  } catch (error) {
    wrong = error as Error;
  }
  yield* connections.finish(time);
  if (wrong !== undefined) throw wrong;
}
