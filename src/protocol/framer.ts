/**
 * Bytes in, frames out: a pure state machine with bounded memory.
 *
 * States: gathering a header (fewer than 28 bytes held), gathering a body (header judged good, fewer bytes
 * held than its length), skipping (the rest of a frame that was refused by its header), closed (a header that
 * makes the rest of the stream meaningless; everything further is ignored).
 *
 * It never holds more than one frame of the limit, and copies what it holds, so that a few bytes do not keep
 * a large read buffer alive.
 */
import { FAULTS, type Fault } from './faults';
import { HEADER_SIZE, readHeader, type ReadHeader } from './header';
import { RESULTS } from './results';

/** Judges a header before any byte behind it is waited for. */
export type HeaderJudge = (header: ReadHeader) => Fault | undefined;

export type FramerEvent =
  | { readonly kind: 'frame'; readonly header: ReadHeader; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly header: ReadHeader; readonly fault: Fault };

const NOTHING = Buffer.alloc(0);

export class Framer {
  private held = NOTHING;
  private header: ReadHeader | undefined;
  private skip = 0;
  private closed = false;

  constructor(private readonly judge: HeaderJudge) {}

  /** Bytes held for a frame that is not complete yet. */
  get pending(): number {
    return this.held.length;
  }

  /** Takes what came and returns what it completes. Frames and their headers may be views into `chunk`. */
  push(chunk: Buffer): FramerEvent[] {
    const events: FramerEvent[] = [];
    let bytes = this.held.length > 0 ? Buffer.concat([this.held, chunk]) : chunk;
    while (!this.closed) {
      bytes = this.dropSkipped(bytes);
      const needed = this.header?.length ?? HEADER_SIZE;
      if (bytes.length < needed) break;
      if (this.header === undefined) this.takeHeader(bytes, events);
      else bytes = this.takeFrame(this.header, bytes, events);
    }
    this.hold(this.closed ? NOTHING : bytes);
    return events;
  }

  /** A copy, with its header read from it, so that they keep no read buffer. */
  private hold(bytes: Buffer): void {
    this.held = bytes.length === 0 ? NOTHING : Buffer.from(bytes);
    if (this.header !== undefined) this.header = readHeader(this.held);
  }

  private dropSkipped(bytes: Buffer): Buffer {
    const dropped = Math.min(this.skip, bytes.length);
    this.skip -= dropped;
    return dropped > 0 ? bytes.subarray(dropped) : bytes;
  }

  private takeHeader(bytes: Buffer, events: FramerEvent[]): void {
    const header = readHeader(bytes);
    const fault = this.judge(header);
    if (fault === undefined) {
      this.header = header;
      return;
    }
    events.push({ kind: 'refused', header, fault });
    if (RESULTS[FAULTS[fault.name].result].closes) this.closed = true;
    else this.skip = header.length;
  }

  private takeFrame(header: ReadHeader, bytes: Buffer, events: FramerEvent[]): Buffer {
    this.header = undefined;
    const isAll = bytes.length === header.length;
    events.push({ kind: 'frame', header, bytes: isAll ? bytes : bytes.subarray(0, header.length) });
    return isAll ? NOTHING : bytes.subarray(header.length);
  }
}
