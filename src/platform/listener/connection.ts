/**
 * One terminal's connection: the only place that touches its socket. It executes what the pipeline answers and
 * knows no rule of the protocol.
 *
 * Modes: open (frames are handled one at a time, in the order they came; further ones wait in a bounded queue,
 * then reading pauses), stalled (the peer does not read what it is told: nothing is handled until it does, and
 * after a while it is cut off), closing (the last answer is out, FIN behind it, input is drained so that the
 * answer is not lost to a reset), closed.
 */
import type { Socket } from 'node:net';
import { Framer, type FramerEvent, type HeaderJudge } from '../../protocol/framer';
import { sourceOf } from '../config/networks';
import type { Challenge, Session } from '../model';
import type { Origin } from './origin';
import { Pace } from './pace';

/** What became of a frame. */
export interface Outcome {
  readonly bytes?: Buffer | undefined;
  /** Milliseconds: the answer leaves at a whole multiple of them after its frame, however long it took to be made. */
  readonly every?: number | undefined;
  /** FIN after the answer. */
  readonly close?: boolean | undefined;
  /** Milliseconds of the listener's clock: until then the peer may take its time, though it has not logged in. */
  readonly patience?: number | undefined;
}

export interface ConnectionHandler {
  /** @param arrivedAt milliseconds of the listener's clock */
  handle(event: FramerEvent, connection: Connection, arrivedAt: number): Outcome | Promise<Outcome>;
  /** Told what handling threw, a fault of ours: that connection is closed, and nobody else hears of it. */
  failed(error: unknown, connection: Connection): void;
  /** Called once, when the socket has gone. */
  closed(connection: Connection): void;
}

export interface ConnectionOptions {
  readonly judge: HeaderJudge;
  readonly handler: ConnectionHandler;
  /** Milliseconds of a clock that nobody sets. */
  readonly now: () => number;
  /** Milliseconds from its acceptance within which a connection must have logged in. */
  readonly loginDeadline: number;
  /** Milliseconds without a frame after which a connection that has logged in is closed. */
  readonly idleLimit: number;
}

/** Frames that wait for their turn before reading pauses, and below which it goes on. */
const QUEUE_HIGH = 64;
const QUEUE_LOW = 16;
/** Bytes that a peer may leave unread before it counts as stalled. */
const UNREAD_LIMIT = 64 * 1024;
/** Milliseconds that a stalled peer is given. */
const STALL_LIMIT = 10_000;
/** Milliseconds beyond the login deadline: stacks of WMMP 3.0 ask four times, 15 s apart. */
const LONGEST_PATIENCE = 60_000;
/** Milliseconds for which input is drained behind FIN. */
const LINGER = 1_000;

/**
 * Of a fleet that comes, or hangs up, all at once so many are dealt with in one turn of the event loop. Whoever has a
 * session does not wait for them.
 */
const AT_ONCE = 128;
/** Frames of one connection that are handled in one turn: a read may bring thousands. */
const FRAMES_AT_ONCE = 4;
/** Bytes that are cut into frames at once, unless they are not one whole frame. */
const BYTES_AT_ONCE = 1_024;
const arrivals = new Pace(AT_ONCE);
const goodbyes = new Pace(AT_ONCE);

type Turn =
  | { readonly event: FramerEvent; readonly arrivedAt: number }
  | { readonly away: () => Buffer | undefined; readonly stays: () => boolean }
  | { readonly task: () => Promise<Buffer | undefined> };

export class Connection {
  session: Session | undefined;
  /** Whom it has served since its first login; nobody else may follow. */
  serial: string | undefined;
  challenge: Challenge | undefined;
  /** A login on it is on its way into the database, which may show its session before this process hears of it. */
  isCommitting = false;
  /** What its frames are of; from its first login on it is held to it. */
  dialect: 'v4' | 'wmmp' | undefined;
  /** WMMP 3.0: the SHA-256 of a frame that may come again, and the answer that it got, if it got one. */
  latest: { readonly frame: string; readonly outcome: Outcome | undefined } | undefined;
  readonly address: string;
  readonly port: number;
  /** What failed attempts are counted by. */
  readonly source: string;
  private readonly onSettled: (() => void) | undefined;
  private readonly framer: Framer;
  private readonly queue: Turn[] = [];
  private mode: 'open' | 'closing' | 'closed' = 'open';
  private running = false;
  /** Its turn among those who came in the same moment is still to come. */
  private isNext = false;
  private peerEnded = false;
  private sequence = 0;
  /** Milliseconds of the listener's clock at which the connection is given up, whatever it waits for. */
  private deadline: number;
  private stalledSince = 0;
  /** Milliseconds of the listener's clock: whoever has not logged in by then is not waited for, however often he asks. */
  private readonly patienceEnd: number;

  constructor(
    private readonly socket: Socket,
    private readonly options: ConnectionOptions,
    origin: Origin,
    private readonly onGone: (connection: Connection) => void = () => undefined,
  ) {
    this.address = origin.address;
    this.port = origin.port;
    this.source = sourceOf(origin.address);
    this.onSettled = origin.onSettled;
    this.framer = new Framer(options.judge);
    this.deadline = origin.acceptedAt + options.loginDeadline;
    this.patienceEnd = this.deadline + LONGEST_PATIENCE;
    socket.on('data', (chunk) => this.onData(chunk));
    socket.on('end', () => this.onPeerEnd());
    socket.on('drain', () => this.onDrain());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.onClose());
  }

  get isOpen(): boolean {
    return this.mode === 'open';
  }

  get hasLoggedIn(): boolean {
    return this.serial !== undefined;
  }

  /** A session has begun on it, the first or a further one. */
  begin(session: Session): void {
    this.session = session;
    this.serial = session.terminal.serial;
    this.onSettled?.();
  }

  /** The next number for a request of ours on this connection. */
  nextSequence(): number {
    this.sequence = (this.sequence + 1) >>> 0;
    return this.sequence;
  }

  /**
   * After the frame that is being handled: sends what `last` makes, if anything, and closes.
   *
   * @param stays asked then: whether that frame is a reason to go on as if nothing had been said
   */
  sendAway(last: () => Buffer | undefined, stays: () => boolean = () => false): void {
    if (this.mode !== 'open') return;
    this.queue.unshift({ away: last, stays });
    void this.run();
  }

  /** After what waits already: sends what `task` comes to, if anything. It must not throw. */
  later(task: () => Promise<Buffer | undefined>): void {
    if (this.mode !== 'open') return;
    this.queue.push({ task });
    void this.run();
  }

  /** Sends a request of ours at once. */
  send(bytes: Buffer): void {
    if (this.mode === 'open') this.write(bytes);
  }

  /** @returns why the connection is overdue, or undefined; the caller decides what to do about it */
  overdue(now: number): 'login-deadline' | 'idle' | 'stalled' | 'lingering' | undefined {
    if (this.mode === 'closed') return undefined;
    if (this.stalledSince > 0 && now - this.stalledSince > STALL_LIMIT) return 'stalled';
    if (now < this.deadline) return undefined;
    if (this.mode === 'closing') return 'lingering';
    // Who waits for our answer is not late; who does not read hears of nothing, and is given up in time.
    if (this.isAtWork || this.stalledSince > 0) return undefined;
    return this.session === undefined ? 'login-deadline' : 'idle';
  }

  destroy(): void {
    this.socket.destroy();
  }

  private onData(chunk: Buffer): void {
    if (this.mode !== 'open') return;
    let events: FramerEvent[] = [];
    try {
      events = this.cut(chunk);
    } catch (error) {
      this.fail(error);
    }
    if (events.length === 0) return;
    const arrivedAt = this.options.now();
    for (const event of events) this.queue.push({ event, arrivedAt });
    if (this.queue.length >= QUEUE_HIGH) this.socket.pause();
    if (this.isNext) return;
    if (this.session !== undefined) return void this.run();
    this.isNext = true;
    arrivals.take(this.runNext);
  }

  /** What is left of a read comes again when what is cut has been handled. */
  private cut(chunk: Buffer): FramerEvent[] {
    for (let end = BYTES_AT_ONCE; ; end += BYTES_AT_ONCE) {
      const events = this.framer.push(chunk.subarray(end - BYTES_AT_ONCE, end));
      if (end >= chunk.length) return events;
      if (events.length === 0) continue;
      this.socket.pause();
      this.socket.unshift(chunk.subarray(end));
      return events;
    }
  }

  private readonly runNext = (): void => {
    this.isNext = false;
    void this.run();
  };

  private onPeerEnd(): void {
    this.peerEnded = true;
    if (!this.isAtWork) goodbyes.take(() => this.closeUnlessAtWork());
  }

  /** What has come before FIN is handled; who closes then is `run`. */
  private closeUnlessAtWork(): void {
    if (!this.isAtWork) this.close();
  }

  private get isAtWork(): boolean {
    return this.running || this.isNext;
  }

  private onDrain(): void {
    this.stalledSince = 0;
    // Where nothing waits, `run` reads no further.
    if (this.queue.length <= QUEUE_LOW) this.socket.resume();
    void this.run();
  }

  private onClose(): void {
    if (this.mode === 'closed') return;
    this.mode = 'closed';
    this.queue.length = 0;
    this.onSettled?.();
    this.onGone(this);
    this.options.handler.closed(this);
  }

  /** Handles what waits, one turn after the other; a turn that needs the database leaves the rest waiting. */
  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      for (let handled = 1; this.mode === 'open' && this.stalledSince === 0; handled++) {
        const turn = this.queue.shift();
        if (turn === undefined || this.isLate(turn)) break;
        // Most frames need no waiting: a promise each would be most of what they cost.
        const taken = this.take(turn);
        if (taken !== undefined) await taken;
        if (this.queue.length <= QUEUE_LOW && this.socket.isPaused()) this.socket.resume();
        if (handled >= FRAMES_AT_ONCE && this.queue.length > 0) return this.giveWay();
      }
    } catch (error) {
      this.fail(error);
    }
    this.running = false;
    if (this.peerEnded && this.stalledSince === 0) this.close();
  }

  /** Without an answer: what is known of the connection may not hold any more. The terminal comes back with a new one. */
  private fail(error: unknown): void {
    this.close();
    this.options.handler.failed(error, this);
  }

  private giveWay(): void {
    this.running = false;
    if (this.isNext) return;
    this.isNext = true;
    arrivals.takeLater(this.runNext);
  }

  /** Or who keeps asking without logging in would always wait for an answer, and never be closed. */
  private isLate(turn: Turn): boolean {
    return this.session === undefined && 'event' in turn && turn.arrivedAt >= this.deadline;
  }

  /** @returns undefined where the turn is over */
  private take(turn: Turn): Promise<void> | undefined {
    if ('task' in turn) return this.work(turn.task);
    if ('away' in turn) {
      if (turn.stays()) return undefined;
      const last = turn.away();
      if (last !== undefined) this.write(last);
      this.close();
      return undefined;
    }
    const { event, arrivedAt } = turn;
    const handled = this.options.handler.handle(event, this, arrivedAt);
    return handled instanceof Promise
      ? this.answerLater(handled, arrivedAt)
      : this.answer(handled, arrivedAt);
  }

  private async work(task: () => Promise<Buffer | undefined>): Promise<void> {
    const bytes = await task();
    if (bytes !== undefined) this.write(bytes);
  }

  private async answerLater(handled: Promise<Outcome>, arrivedAt: number): Promise<void> {
    const rest = this.answer(await handled, arrivedAt);
    if (rest !== undefined) await rest;
  }

  private answer(outcome: Outcome, arrivedAt: number): Promise<void> | undefined {
    if (this.session !== undefined) this.deadline = arrivedAt + this.options.idleLimit;
    if (outcome.patience !== undefined) {
      this.deadline = Math.max(this.deadline, Math.min(outcome.patience, this.patienceEnd));
    }
    if (outcome.every !== undefined) return this.answerWhenDue(outcome, arrivedAt, outcome.every);
    this.give(outcome);
    return undefined;
  }

  private async answerWhenDue(outcome: Outcome, arrivedAt: number, every: number): Promise<void> {
    const wait = untilMultiple(this.options.now() - arrivedAt, every);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    this.give(outcome);
  }

  private give({ bytes, close }: Outcome): void {
    if (bytes !== undefined) this.write(bytes);
    if (close) this.close();
  }

  private write(bytes: Buffer): void {
    if (this.mode !== 'open') return;
    this.socket.write(bytes);
    if (this.socket.writableLength > UNREAD_LIMIT && this.stalledSince === 0) {
      this.stalledSince = this.options.now();
      this.socket.pause();
    }
  }

  private close(): void {
    if (this.mode !== 'open') return;
    this.mode = 'closing';
    this.deadline = this.options.now() + LINGER;
    this.queue.length = 0;
    // Both sides are done: closing sends FIN by itself, and a shutdown of its own would cost a login a tenth more.
    if (this.peerEnded && this.socket.writableLength === 0) return void this.socket.destroy();
    this.socket.end();
    this.socket.resume();
  }
}

/** @returns milliseconds until the next whole multiple of `every`, of which there is at least one */
export function untilMultiple(elapsed: number, every: number): number {
  if (every === 0) return 0;
  return Math.max(1, Math.ceil(elapsed / every)) * every - elapsed;
}
