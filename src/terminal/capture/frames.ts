/** One direction's bytes, in order and cut anywhere, as frames; bounded by the 16 bits of a frame's length. */
import { FAULTS, type Fault } from '../../protocol/faults';
import { HEADER_SIZE, LARGEST_FRAME, readHeader, type Header } from '../../protocol/header';
import { headerJudge } from '../../protocol/judge';
import { downlinkJudge } from '../../protocol/judgeDownlink';
import { parseProxyHeader, type ProxyHeaderBytes } from '../../protocol/proxyHeader';
import { RESULTS } from '../../protocol/results';
import type { Direction } from '../frameTable';

export interface CutFrame {
  /** Of its first byte in the stream. */
  readonly offset: number;
  readonly bytes: Buffer;
  /**
   * `refused`: its header is one that closes a connection, so that nothing behind it is a frame; `bytes` is what
   * had come of it then.
   */
  readonly state: 'whole' | 'refused';
}

/** What a load balancer has put in front of a terminal's bytes. */
export interface CutProxyHeader extends ProxyHeaderBytes {
  readonly offset: 0;
  readonly state: 'proxy';
}

const JUDGES = { up: headerJudge(LARGEST_FRAME), down: downlinkJudge(LARGEST_FRAME) } as const;

export class FrameCutter {
  private chunks: Buffer[] = [];
  private size = 0;
  private offset = 0;
  private needed: number;
  private refused = false;
  /** Whether a header of the PROXY protocol may still come; it cannot be mistaken for a frame. */
  private opening: boolean;

  constructor(private readonly direction: Direction) {
    this.opening = direction === 'up';
    this.needed = this.opening ? 1 : HEADER_SIZE;
  }

  /** Bytes held. */
  get held(): number {
    return this.size;
  }

  /** What is held of a frame that is not complete. */
  get rest(): { readonly offset: number; readonly bytes: Buffer } | undefined {
    return this.size === 0 ? undefined : { offset: this.offset, bytes: Buffer.concat(this.chunks) };
  }

  /** Takes the next bytes. @returns the frames that they complete, which may be views into them */
  push(bytes: Buffer): (CutFrame | CutProxyHeader)[] {
    if (this.refused) return [];
    const isEnough = this.size + bytes.length >= this.needed;
    const all = isEnough ? Buffer.concat([...this.chunks, bytes]) : bytes;
    if (isEnough) [this.chunks, this.size] = [[], 0];
    const found: (CutFrame | CutProxyHeader)[] = [];
    const left = isEnough ? this.read(all, found) : all;
    if (left.length > 0) {
      // A copy, so that a few bytes do not keep a whole packet.
      this.chunks.push(Buffer.from(left));
      this.size += left.length;
    }
    return found;
  }

  /** @returns what is left for the next time */
  private read(all: Buffer, found: (CutFrame | CutProxyHeader)[]): Buffer {
    const header = this.opening ? parseProxyHeader(all) : 'malformed';
    if (header === 'more') {
      this.needed = all.length + 1;
      return all;
    }
    this.opening = false;
    if (header === 'malformed') return this.cut(all, found);
    found.push({ ...header, offset: 0, state: 'proxy' });
    this.offset = header.length;
    return this.cut(all.subarray(header.length), found);
  }

  private cut(all: Buffer, found: (CutFrame | CutProxyHeader)[]): Buffer {
    let left = all;
    this.needed = HEADER_SIZE;
    while (left.length >= HEADER_SIZE) {
      const header = readHeader(left);
      this.refused = closes(JUDGES[this.direction](header));
      this.needed = this.refused ? left.length : header.length;
      if (left.length < this.needed) return left;
      const size = this.refused ? shownSize(header, left) : this.needed;
      const state = this.refused ? 'refused' : 'whole';
      found.push({ offset: this.offset, bytes: left.subarray(0, size), state });
      left = this.refused ? left.subarray(left.length) : left.subarray(size);
      this.offset += size;
      this.needed = HEADER_SIZE;
    }
    return left;
  }
}

function closes(found: Fault | undefined): boolean {
  return found !== undefined && RESULTS[FAULTS[found.name].result].closes;
}

function shownSize(header: Header, bytes: Buffer): number {
  return header.length < HEADER_SIZE ? bytes.length : Math.min(header.length, bytes.length);
}
