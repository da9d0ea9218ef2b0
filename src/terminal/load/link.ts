/**
 * One connection of a load generator, with as little around it as node:net allows: no promises, no timers, one read
 * buffer for all, and of a frame that comes only length, command, sequence and result are looked at.
 *
 * Opening, then open, then over: by close(), or after `closed` has been told why. Nothing is told after that.
 */
import { connect, type Socket, type TcpSocketConnectOpts } from 'node:net';
import { HEADER_SIZE } from '../../protocol/header';
import { LOST, UNBELIEVED, UNREACHABLE } from './outcomes';
import type { Sources } from './sources';

export interface Target {
  /** An IP address. */
  readonly host: string;
  readonly port: number;
}

/** A frame of the gateway, as a view into a buffer that the next read overwrites. */
export interface Arrived {
  readonly bytes: Buffer;
  readonly command: number;
  readonly sequence: number;
  readonly result: number;
}

export interface LinkOwner {
  opened(link: Link): void;
  arrived(link: Link, frame: Arrived): void;
  /** @param outcome UNREACHABLE, LOST or UNBELIEVED */
  closed(link: Link, outcome: number): void;
}

/** Reads are served one after the other, and each is done with before the next. */
const READ = Buffer.allocUnsafeSlow(65_536);
const NOTHING = Buffer.alloc(0);
/** Somebody else may sit on a port, or the kernel still hold it from an earlier run. */
const PORTS_TRIED = 50;

const PORT_TAKEN = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES']);

export class Link {
  private socket: Socket;
  private held = NOTHING;
  private over = false;
  private tries = 0;

  /** @param sources undefined: the kernel chooses address and port */
  constructor(
    readonly terminal: number,
    private readonly target: Target,
    private readonly sources: Sources | undefined,
    private readonly owner: LinkOwner,
  ) {
    this.socket = this.open();
  }

  send(frame: Buffer): void {
    this.socket.write(frame);
  }

  /** All was read and written, so that the kernel closes by FIN. */
  close(): void {
    this.over = true;
    this.socket.destroy();
  }

  private open(): Socket {
    const options: TcpSocketConnectOpts = {
      host: this.target.host,
      port: this.target.port,
      noDelay: true,
      onread: { buffer: READ, callback: (size) => this.take(size) },
    };
    if (this.sources !== undefined) Object.assign(options, this.sources.take());
    const socket = connect(options);
    socket.on('connect', () => !this.over && this.owner.opened(this));
    socket.on('error', (error: NodeJS.ErrnoException) => this.failed(error));
    socket.on('close', () => this.end(LOST));
    return socket;
  }

  private failed({ code = '', syscall }: NodeJS.ErrnoException): void {
    if (this.sources !== undefined && PORT_TAKEN.has(code) && ++this.tries < PORTS_TRIED && !this.over) {
      this.socket.removeAllListeners('close');
      this.socket = this.open();
      return;
    }
    this.end(syscall === 'connect' || syscall === 'bind' ? UNREACHABLE : LOST);
  }

  private end(outcome: number): void {
    if (this.over) return;
    this.over = true;
    this.socket.destroy();
    this.owner.closed(this, outcome);
  }

  /** @returns true: go on reading */
  private take(size: number): boolean {
    let bytes = READ.subarray(0, size);
    if (this.held.length > 0) bytes = Buffer.concat([this.held, bytes]);
    while (!this.over && bytes.length >= HEADER_SIZE) {
      const length = bytes.readUInt16BE(0);
      if (length < HEADER_SIZE) this.end(UNBELIEVED);
      if (this.over || bytes.length < length) break;
      this.owner.arrived(this, {
        bytes: bytes.length === length ? bytes : bytes.subarray(0, length),
        command: bytes.readUInt16BE(2),
        sequence: bytes.readUInt32BE(4),
        result: bytes[11]!,
      });
      bytes = bytes.subarray(length);
    }
    this.held = this.over || bytes.length === 0 ? NOTHING : Buffer.from(bytes);
    return true;
  }
}
