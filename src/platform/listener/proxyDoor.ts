/** The PROXY protocol in front of a listener: takes accepted sockets, hands on those whose header is read. */
import type { Socket } from 'node:net';
import { isWithin, type Network } from '../config/networks';
import type { Origin } from './origin';
import { ProxyHeaderReader } from './proxyHeader';

export interface ProxyDoorOptions {
  /** Who may send a header at all. */
  readonly trusted: readonly Network[];
  /** Milliseconds from a connection's acceptance within which its header must be there. */
  readonly headerLimit: number;
  readonly onRefused: (reason: 'proxy-malformed' | 'proxy-missing', origin: Origin) => void;
}

/** Goes on with a socket, which is paused, as the one that its header tells of. */
export type Onward = (socket: Socket, origin: Origin) => void;

export class ProxyDoor {
  private readonly underWay = new Map<Socket, Origin>();

  constructor(private readonly options: ProxyDoorOptions) {}

  /** Sockets whose header is not there yet. */
  get waiting(): number {
    return this.underWay.size;
  }

  trusts({ address }: Origin): boolean {
    return isWithin(this.options.trusted, address);
  }

  take(socket: Socket, origin: Origin, onward: Onward): void {
    const reader = new ProxyHeaderReader();
    const onData = (chunk: Buffer): void => {
      const header = reader.push(chunk);
      if (header === 'more') return;
      if (header === 'malformed') return this.refuse(socket, 'proxy-malformed');
      this.underWay.delete(socket);
      socket.off('data', onData).off('error', leave).off('end', leave).off('close', onClose).pause();
      if (header.rest.length > 0) socket.unshift(header.rest);
      onward(socket, { ...origin, ...header.source, local: header.local });
    };
    const leave = (): unknown => socket.destroy();
    // A health check may come and go without a header.
    const onClose = (): unknown =>
      reader.begun ? this.refuse(socket, 'proxy-malformed') : this.underWay.delete(socket);
    this.underWay.set(socket, origin);
    socket.on('data', onData).on('error', leave).on('end', leave).on('close', onClose);
  }

  /** Closes who is overdue. @param now milliseconds of the listener's clock */
  sweep(now: number): void {
    for (const [socket, { acceptedAt }] of this.underWay) {
      if (now - acceptedAt >= this.options.headerLimit) this.refuse(socket, 'proxy-missing');
    }
  }

  destroyAll(): void {
    for (const socket of this.underWay.keys()) socket.destroy();
    this.underWay.clear();
  }

  private refuse(socket: Socket, reason: 'proxy-malformed' | 'proxy-missing'): void {
    const origin = this.underWay.get(socket);
    if (origin === undefined) return;
    this.underWay.delete(socket);
    this.options.onRefused(reason, origin);
    socket.destroy();
  }
}
