/** TCP segments of all connections with the gateway in, frames and gaps out, with bounded memory. */
import type { Direction } from '../frameTable';
import { FrameCutter, type CutFrame, type CutProxyHeader } from './frames';
import { addressText, type Endpoint, type Segment } from './segments';
import { StreamAssembler, type Gap } from './streams';

/** Where and when something was seen. */
interface Place {
  /** Nanoseconds since 1970: of the packet by which it was complete, or was known not to become so. */
  readonly time: bigint;
  /** Counted from 1 in the order in which they begin. */
  readonly connection: number;
  readonly direction: Direction;
  readonly terminal: Endpoint;
  readonly gateway: Endpoint;
  /** False where the connection began before the capture, so that the first bytes may be the middle of a frame. */
  readonly sawStart: boolean;
  /** Of its first byte in the stream of its direction. */
  readonly offset: number;
}

export interface SeenFrame extends Place {
  readonly kind: 'frame';
  readonly bytes: Buffer;
  /**
   * `whole`; `refused`: its header is one that closes a connection, and nothing behind it is read; `closed`: the
   * connection ended within it; `open`: the rest of it is not in the capture.
   */
  readonly state: 'whole' | 'refused' | 'closed' | 'open';
}

export interface SeenGap extends Place, Gap {
  readonly kind: 'gap';
}

/** A load balancer's header in front of a terminal's first frame. */
export interface SeenProxyHeader extends Place {
  readonly kind: 'proxy';
  /** Bytes of the header. */
  readonly length: number;
  /** Whom it stands for; undefined: nobody but itself. */
  readonly source: Endpoint | undefined;
}

export type CaptureEvent = SeenFrame | SeenGap | SeenProxyHeader;

interface Flow {
  readonly stream: StreamAssembler;
  readonly cutter: FrameCutter;
  done: boolean;
}

interface Connection {
  readonly number: number;
  readonly terminal: Endpoint;
  readonly gateway: Endpoint;
  readonly sawStart: boolean;
  readonly up: Flow;
  readonly down: Flow;
}

/** Above these, the connection that was silent longest is given up. */
const MOST_CONNECTIONS = 20_000;
const MOST_HELD = 64 * 1024 * 1024;

const DIRECTIONS = ['up', 'down'] as const;

export class Connections {
  /** The one that was silent longest first. */
  private readonly open = new Map<string, Connection>();
  private count = 0;
  private held = 0;

  /** @param port that of the gateway: what goes there is uplink */
  constructor(private readonly port: number) {}

  /** @param time of its packet, in nanoseconds since 1970 */
  take(segment: Segment, time: bigint): CaptureEvent[] {
    const direction = this.directionOf(segment);
    if (direction === undefined) return [];
    const isUp = direction === 'up';
    const terminal = isUp ? segment.source : segment.target;
    const gateway = isUp ? segment.target : segment.source;
    const key = `${terminal.address} ${terminal.port} ${gateway.address}`;
    const known = this.open.get(key);
    const isNew = known === undefined || beginsAnew(known, direction, segment);
    // Without data it tells nothing about a connection that began before the capture.
    if (isNew && !segment.syn && segment.size === 0) return [];
    const events = known !== undefined && isNew ? this.end(known, 'open', time) : [];
    const connection = isNew ? this.begin(terminal, gateway, segment.syn) : known;
    this.touch(key, connection);
    const before = heldBy(connection);
    events.push(...this.read(connection, direction, segment, time));
    this.held += heldBy(connection) - before;
    return [...events, ...this.evict(time)];
  }

  /** What is left of all connections when the capture ends. */
  finish(time: bigint): CaptureEvent[] {
    const events = [...this.open.values()].flatMap((connection) => this.end(connection, 'open', time));
    this.open.clear();
    return events;
  }

  private directionOf({ source, target }: Segment): Direction | undefined {
    if (target.port === this.port) return 'up';
    return source.port === this.port ? 'down' : undefined;
  }

  private begin(terminal: Endpoint, gateway: Endpoint, sawStart: boolean): Connection {
    this.count++;
    const flow = (direction: Direction): Flow => ({
      stream: new StreamAssembler(),
      cutter: new FrameCutter(direction),
      done: false,
    });
    return { number: this.count, terminal, gateway, sawStart, up: flow('up'), down: flow('down') };
  }

  private touch(key: string, connection: Connection): void {
    this.open.delete(key);
    this.open.set(key, connection);
  }

  private read(connection: Connection, direction: Direction, segment: Segment, time: bigint): CaptureEvent[] {
    const { stream, cutter, done } = connection[direction];
    if (done) return [];
    // SYN takes a sequence number of its own.
    const sequence = segment.syn ? (segment.sequence + 1) >>> 0 : segment.sequence;
    if (segment.syn) stream.begin(sequence);
    const place = placeOf(connection, direction, time);
    const events: CaptureEvent[] = [];
    if (segment.size > 0 || segment.fin) {
      for (const bytes of stream.take(sequence, segment.payload, segment.size, segment.fin)) {
        for (const cut of cutter.push(bytes)) events.push({ ...place, ...seen(cut) });
      }
    }
    if (segment.reset) return [...events, ...endFlows(connection, DIRECTIONS, 'closed', time)];
    return stream.ended ? [...events, ...endFlows(connection, [direction], 'closed', time)] : events;
  }

  private end(connection: Connection, state: 'closed' | 'open', time: bigint): CaptureEvent[] {
    this.held -= heldBy(connection);
    return endFlows(connection, DIRECTIONS, state, time);
  }

  private evict(time: bigint): CaptureEvent[] {
    const events: CaptureEvent[] = [];
    for (const [key, connection] of this.open) {
      if (this.open.size <= MOST_CONNECTIONS && this.held <= MOST_HELD) break;
      events.push(...this.end(connection, 'open', time));
      this.open.delete(key);
    }
    return events;
  }
}

/** A SYN after the end, or one with another number than this direction has begun with. */
function beginsAnew(connection: Connection, direction: Direction, { syn, sequence }: Segment): boolean {
  if (!syn) return false;
  const isOver = connection.up.done && connection.down.done;
  return isOver || !connection[direction].stream.begin((sequence + 1) >>> 0);
}

function heldBy({ up, down }: Connection): number {
  return up.stream.held + up.cutter.held + down.stream.held + down.cutter.held;
}

function placeOf({ number, terminal, gateway, sawStart }: Connection, direction: Direction, time: bigint) {
  return { time, connection: number, direction, terminal, gateway, sawStart };
}

function seen(
  cut: CutFrame | CutProxyHeader,
): Pick<SeenFrame, 'kind' | keyof CutFrame> | Pick<SeenProxyHeader, 'kind' | 'offset' | 'length' | 'source'> {
  if (cut.state !== 'proxy') return { kind: 'frame', ...cut };
  const { offset, length, source } = cut;
  return {
    kind: 'proxy',
    offset,
    length,
    source: source && { address: addressText(source.address), port: source.port },
  };
}

/** Tells what remains incomplete, once. */
function endFlows(
  connection: Connection,
  directions: readonly Direction[],
  state: 'closed' | 'open',
  time: bigint,
): CaptureEvent[] {
  return directions.flatMap((direction): CaptureEvent[] => {
    const flow = connection[direction];
    if (flow.done) return [];
    flow.done = true;
    const place = placeOf(connection, direction, time);
    const { gap } = flow.stream;
    const { rest } = flow.cutter;
    const cutState = gap === undefined ? state : 'open';
    return [
      ...(rest === undefined ? [] : [{ kind: 'frame', ...place, ...rest, state: cutState } as const]),
      ...(gap === undefined ? [] : [{ kind: 'gap', ...place, ...gap } as const]),
    ];
  });
}
