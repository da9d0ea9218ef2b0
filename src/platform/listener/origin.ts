/** Where a connection comes from, and since when. */
import { isIPv4, type Socket } from 'node:net';

export interface Origin {
  /** IPv4 or IPv6, as text. */
  readonly address: string;
  readonly port: number;
  /** Milliseconds of the listener's clock. */
  readonly acceptedAt: number;
  /** The load balancer's own connection, such as a health check: it need not come to anything. */
  readonly local: boolean;
  /** Told when the connection is no newcomer any more: it has logged in, or gone. */
  readonly onSettled?: () => void;
}

/** What the socket itself tells. */
export function originOf({ remoteAddress = '', remotePort = 0 }: Socket, acceptedAt: number): Origin {
  return { address: plainAddress(remoteAddress), port: remotePort, acceptedAt, local: false };
}

const MAPPED = '::ffff:';

/**
 * As PostgreSQL's inet takes it: without the zone of a link-local address, and `::ffff:192.0.2.1`, as a dual-stack
 * socket tells an IPv4 peer, as 192.0.2.1. What else begins so, such as `::ffff:1:2:3:4`, is no IPv4 address.
 */
export function plainAddress(address: string): string {
  const [unzoned = ''] = address.split('%');
  const mapped = unzoned.startsWith(MAPPED) ? unzoned.slice(MAPPED.length) : '';
  return isIPv4(mapped) ? mapped : unzoned;
}
