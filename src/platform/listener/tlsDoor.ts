/** TLS in front of a listener: takes accepted sockets, hands on those whose handshake is done (RFC 8446, RFC 5246). */
import type { Socket } from 'node:net';
import { createServer, type Server } from 'node:tls';
import type { Certificate } from './certificate';
import type { Origin } from './origin';

export interface TlsDoorOptions {
  readonly certificate: Certificate;
  /** Milliseconds within which the handshake must be done. */
  readonly handshakeLimit: number;
  readonly onSecure: (socket: Socket, origin: Origin) => void;
  readonly onFailed: (origin: Origin) => void;
}

interface Guest {
  readonly socket: Socket;
  readonly origin: Origin;
  /** Its handshake is done. */
  isSecure: boolean;
}

const OLDEST_VERSION = 'TLSv1.2';

export class TlsDoor {
  private readonly server: Server;
  /** By peer: a TLS socket does not tell which socket it was made over. */
  private readonly underWay = new Map<string, Guest>();

  constructor(private readonly options: TlsDoorOptions) {
    const { certificate, handshakeLimit } = options;
    this.server = createServer({ ...credentials(certificate), handshakeTimeout: handshakeLimit });
    this.server.on('secureConnection', (socket) => {
      const peer = peerOf(socket);
      const guest = this.underWay.get(peer);
      this.underWay.delete(peer);
      // It may have gone in the meantime.
      if (guest === undefined) return void socket.destroy();
      guest.isSecure = true;
      options.onSecure(socket, guest.origin);
    });
    // Where the time is up node tells, and leaves the socket open.
    this.server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /** Sockets whose handshake is not done yet. */
  get waiting(): number {
    return this.underWay.size;
  }

  take(socket: Socket, origin: Origin): void {
    const peer = peerOf(socket);
    const guest: Guest = { socket, origin, isSecure: false };
    this.underWay.set(peer, guest);
    socket.once('close', () => {
      // A peer that resets its connection may be here with a new one from the same port before the old one is closed.
      if (this.underWay.get(peer) === guest) this.underWay.delete(peer);
      if (!guest.isSecure && !origin.local) this.options.onFailed(origin);
    });
    this.server.emit('connection', socket);
  }

  /** For connections from now on; those that stand keep what they have seen. */
  use(certificate: Certificate): void {
    this.server.setSecureContext(credentials(certificate));
  }

  destroyAll(): void {
    for (const { socket } of this.underWay.values()) socket.destroy();
  }
}

function peerOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress}|${remotePort}|${localAddress}`;
}

function credentials({ cert, key }: Certificate) {
  return { cert, key, minVersion: OLDEST_VERSION } as const;
}
