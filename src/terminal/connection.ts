/**
 * A device's connection: frames out, answers back to whoever asked, the gateway's own requests to a handler.
 *
 * Open from the start; closed by close(), by the other side, by an error of the socket, or by bytes that are no
 * frame (what follows them means nothing). Once closed it stays closed, every question still open is rejected,
 * and the handler hears of it once.
 */
import { connect, type Socket } from 'node:net';
import { faultText } from '../protocol/faults';
import { Framer, type FramerEvent, type HeaderJudge } from '../protocol/framer';
import { RESPONSE_BIT, type ReadHeader } from '../protocol/header';
import { refuse, type Arrival, type Refused } from './answers';

/** No connection, a connection lost, or no answer in time. */
export class ConnectionError extends Error {
  override readonly name: string = 'ConnectionError';
}

/** No answer in time, on a connection that stands. */
export class Silence extends ConnectionError {
  override readonly name = 'Silence';
}

export interface Frame {
  readonly header: ReadHeader;
  readonly bytes: Buffer;
}

export type TapDirection = 'up' | 'down';

/** What a client tells whoever plays it about its connection. */
export interface ConnectionListener {
  /** A frame of the gateway that was dropped. */
  onRefused?(refused: Refused): void;
  onClose?(error: ConnectionError | undefined): void;
  onFrame?(direction: TapDirection, bytes: Buffer): void;
}

export interface Handlers {
  /** A request of the gateway, in its place among the answers. */
  readonly onRequest: (frame: Frame) => void;
  /** An answer that nobody waits for (any more). */
  readonly onStray?: (frame: Frame) => void;
  /** Called once; without an error where this side closed, or the other side did in an orderly way. */
  readonly onClose?: (error: ConnectionError | undefined) => void;
  /** Sees the bytes of every whole frame as it passes. */
  readonly tap?: (direction: TapDirection, bytes: Buffer) => void;
}

/** @param onEnd the client's own, before the listener hears of it */
export function handlersFor(
  listener: ConnectionListener,
  onRequest: (frame: Frame) => void,
  onEnd: () => void,
): Handlers {
  return {
    onRequest,
    onStray: () => listener.onRefused?.(refuse('not-asked')),
    onClose: (error) => {
      onEnd();
      listener.onClose?.(error);
    },
    ...(listener.onFrame && { tap: (direction, bytes) => listener.onFrame?.(direction, bytes) }),
  };
}

/** What a client needs of a connection. */
export type Link = Pick<Connection, 'ask' | 'send' | 'close'>;

export interface Where {
  readonly host: string;
  readonly port: number;
}

interface Waiting {
  readonly askedAt: number;
  readonly timer: NodeJS.Timeout;
  readonly take: (arrival: Arrival) => void;
  readonly fail: (error: ConnectionError) => void;
}

/** The gateway drains for a second after its FIN; so does this side. */
const LINGER_MS = 1000;

export class Connection {
  private readonly framer: Framer;
  private readonly waiting = new Map<number, Waiting>();
  private ended: ConnectionError | undefined;
  private closing = false;

  /**
   * @param socket connected already, TCP or TLS
   * @param judge of the dialect that is spoken on it
   */
  constructor(
    private readonly socket: Socket,
    judge: HeaderJudge,
    private readonly handlers: Handlers,
  ) {
    this.framer = new Framer(judge);
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', (error) => this.end(new ConnectionError(`connection lost: ${error.message}`), true));
    socket.on('close', () => this.end(new ConnectionError('connection closed by the gateway'), false));
  }

  /** @param timeout milliseconds */
  static async open(
    where: Where,
    judge: HeaderJudge,
    handlers: Handlers,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<Connection> {
    const socket = await openSocket(where, timeout, signal);
    return new Connection(socket, judge, handlers);
  }

  send(frame: Buffer): void {
    if (this.ended) throw this.ended;
    this.handlers.tap?.('up', frame);
    this.socket.write(frame);
  }

  /**
   * Sends a request and gives the first answer with its sequence to `judge`, in the order of arrival and before
   * anything behind it is looked at.
   *
   * @param timeout milliseconds
   */
  ask<T>(frame: Buffer, sequence: number, timeout: number, judge: (arrival: Arrival) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended);
      const timer = setTimeout(() => this.expire(sequence, timeout), timeout);
      const take = (arrival: Arrival): void => {
        try {
          resolve(judge(arrival));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      this.waiting.set(sequence, { askedAt: performance.now(), timer, take, fail: reject });
      this.send(frame);
    });
  }

  /** Closes by FIN, and by force where the other side does not follow within a second. */
  close(): Promise<void> {
    this.closing = true;
    return new Promise((resolve) => {
      if (this.socket.closed) return resolve();
      const timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
      this.socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.socket.end();
    });
  }

  private take(chunk: Buffer): void {
    try {
      for (const event of this.framer.push(chunk)) this.deliver(event);
    } catch (error) {
      // A handler that fails (a flash that cannot be written, say) must not take the process with it.
      this.end(new ConnectionError(error instanceof Error ? error.message : String(error)), true);
    }
  }

  private deliver(event: FramerEvent): void {
    if (event.kind === 'refused') {
      const error = new ConnectionError(`the gateway sent what is no frame: ${faultText(event.fault)}`);
      return this.end(error, true);
    }
    this.handlers.tap?.('down', event.bytes);
    if ((event.header.command & RESPONSE_BIT) === 0) return this.handlers.onRequest(event);
    const asked = this.settle(event.header.sequence);
    if (asked === undefined) return this.handlers.onStray?.(event);
    const elapsed = performance.now() - asked.askedAt;
    asked.take({ header: event.header, bytes: event.bytes, elapsed, at: Date.now() });
  }

  private settle(sequence: number): Waiting | undefined {
    const found = this.waiting.get(sequence);
    if (found === undefined) return undefined;
    clearTimeout(found.timer);
    this.waiting.delete(sequence);
    return found;
  }

  private expire(sequence: number, timeout: number): void {
    this.settle(sequence)?.fail(new Silence(`no answer within ${timeout / 1000} s`));
  }

  private end(error: ConnectionError, destroy: boolean): void {
    if (this.ended) return;
    this.ended = error;
    if (destroy) this.socket.destroy();
    for (const sequence of [...this.waiting.keys()]) this.settle(sequence)?.fail(error);
    this.handlers.onClose?.(destroy && !this.closing ? error : undefined);
  }
}

function openSocket(where: Where, timeout: number, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...where, noDelay: true });
    const settle = (why?: string): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      if (why === undefined) return resolve(socket);
      // An error after this one has nobody left to hear it.
      socket.on('error', () => undefined).destroy();
      reject(new ConnectionError(`cannot connect to ${where.host}:${where.port}: ${why}`));
    };
    const onError = (error: NodeJS.ErrnoException): void => settle(error.message || error.code || error.name);
    const onAbort = (): void => settle('stopped');
    const timer = setTimeout(() => settle(`no answer within ${timeout / 1000} s`), timeout);
    signal?.addEventListener('abort', onAbort);
    socket.once('error', onError);
    socket.once('connect', () => settle());
  });
}
