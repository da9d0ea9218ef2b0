/** One direction of a TCP connection: segments in any order in, its bytes in order out, with bounded memory. */

/** Bytes that never came, and what came behind them. */
export interface Gap {
  /** Of its first byte in the stream. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
  /** Bytes known behind it, which are not read: where a frame begins there is not known. */
  readonly behind: number;
}

interface Piece {
  readonly at: number;
  readonly bytes: Buffer;
}

/** What may wait behind a gap: as much as a receive window of the gateway or a terminal would take. */
const MOST_HELD = 1024 * 1024;
/** What a piece costs besides its bytes, so that many tiny ones are bounded too. */
const PIECE_COST = 200;

export class StreamAssembler {
  /** Sequence number of the stream's first byte. */
  private first: number | undefined;
  private taken = 0;
  private pieces: Piece[] = [];
  private cost = 0;
  private end: number | undefined;
  private lost: Gap | undefined;

  /** Bytes held for later, with what holding them costs. */
  get held(): number {
    return this.cost;
  }

  /** Whether everything up to the FIN has been taken. */
  get ended(): boolean {
    return this.end !== undefined && this.taken >= this.end;
  }

  /** Where the stream stops although more is known to be behind. */
  get gap(): Gap | undefined {
    if (this.lost !== undefined) return this.lost;
    const next = this.pieces[0]?.at ?? this.end;
    if (next === undefined || next <= this.taken) return undefined;
    const behind = this.pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return { offset: this.taken, size: next - this.taken, behind };
  }

  /** @param sequence of the first byte. @returns false where the stream has begun with another one */
  begin(sequence: number): boolean {
    this.first ??= sequence;
    return this.first === sequence;
  }

  /**
   * Takes a segment's payload. Of bytes that come twice the first ones count, as most receivers do it.
   *
   * @param size of the payload on the wire, at least that of `payload`
   * @returns what can be read now, in order; it may be views into `payload`
   */
  take(sequence: number, payload: Buffer, size: number, fin: boolean): Buffer[] {
    this.first ??= sequence;
    // The sequence number counts modulo 2^32; what is up to 2^31 away is before or behind.
    const at = this.taken + ((sequence - ((this.first + this.taken) >>> 0)) | 0);
    if (fin) this.end ??= at + size;
    if (this.lost !== undefined) {
      this.lost = { ...this.lost, behind: this.lost.behind + payload.length };
      return [];
    }
    if (at <= this.taken) return this.advance(at, payload);
    this.hold(at, payload);
    return [];
  }

  private advance(at: number, payload: Buffer): Buffer[] {
    const ready = this.readable({ at, bytes: payload });
    for (let next = this.pieces[0]; next !== undefined && next.at <= this.taken; next = this.pieces[0]) {
      this.pieces.shift();
      this.cost -= next.bytes.length + PIECE_COST;
      ready.push(...this.readable(next));
    }
    return ready;
  }

  private readable({ at, bytes }: Piece): Buffer[] {
    const fresh = bytes.subarray(this.taken - at);
    this.taken += fresh.length;
    return fresh.length > 0 ? [fresh] : [];
  }

  /** Keeps what no other piece has, as copies: a view would keep its whole packet. */
  private hold(from: number, payload: Buffer): void {
    const end = from + payload.length;
    const fresh: Piece[] = [];
    let at = from;
    const keep = (to: number) => {
      if (to > at) fresh.push({ at, bytes: Buffer.from(payload.subarray(at - from, to - from)) });
    };
    for (const piece of this.pieces) {
      if (piece.at >= end) break;
      keep(piece.at);
      at = Math.max(at, piece.at + piece.bytes.length);
    }
    keep(end);
    for (const { bytes } of fresh) this.cost += bytes.length + PIECE_COST;
    this.pieces = [...this.pieces, ...fresh].sort((one, other) => one.at - other.at);
    if (this.cost > MOST_HELD) this.giveUp();
  }

  private giveUp(): void {
    this.lost = this.gap;
    this.pieces = [];
    this.cost = 0;
  }
}
