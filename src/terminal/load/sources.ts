/**
 * Source addresses and ports of a load generator that is on the gateway's own machine.
 *
 * Left to itself the kernel looks for a free port among those that are in TIME_WAIT, which ends at some 14,000
 * connections a second from one address. Here each is named: a thread has addresses of its own, and comes back to the
 * same port only after it has used all others.
 */
import { randomInt } from 'node:crypto';

export interface Source {
  readonly localAddress: string;
  readonly localPort: number;
}

const ADDRESSES = 250;
const LOWEST_PORT = 10_000;
const PORTS = 50_000;
/** 127.0.1.x for the first thread, and so on. */
export const MOST_THREADS = 200;

export class Sources {
  private next = randomInt(PORTS) * ADDRESSES;
  private readonly addresses: readonly string[];

  constructor(thread: number) {
    this.addresses = Array.from({ length: ADDRESSES }, (_, i) => `127.0.${thread + 1}.${i + 1}`);
  }

  /** Addresses turn fastest, so that few sockets share a port number: the kernel searches those one by one. */
  take(): Source {
    const n = this.next++;
    return {
      localAddress: this.addresses[n % ADDRESSES]!,
      localPort: LOWEST_PORT + (Math.floor(n / ADDRESSES) % PORTS),
    };
  }
}

/** Whether addresses 127.x.y.z can be bound without being set up, and reach this target. */
export function canChooseSource(host: string, platform: NodeJS.Platform = process.platform): boolean {
  return platform === 'linux' && /^127\./.test(host);
}
