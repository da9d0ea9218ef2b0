/** Where a connection comes from, and since when. */
import type { Socket } from 'node:net';

export interface Origin {
  /** IPv4 or IPv6, as text. */
  readonly address: string;
  readonly port: number;
  /** Milliseconds since the epoch. */
  readonly acceptedAt: number;
  /** The load balancer's own connection, such as a health check: it need not come to anything. */
  readonly local: boolean;
  /** Told when the connection has logged in. */
  readonly onLogin?: () => void;
}

/** What the socket itself tells. */
export function originOf({ remoteAddress = '', remotePort = 0 }: Socket, acceptedAt: number): Origin {
  return { address: withoutMapping(remoteAddress), port: remotePort, acceptedAt, local: false };
}

/** `::ffff:192.0.2.1`, as a dual-stack socket tells an IPv4 peer, is 192.0.2.1. */
export function withoutMapping(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
