/** What attackers have in common: connections from addresses of their choice, until the attack is over. */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Terminal } from '../../support/oracle';
import type { Where } from './heartbeats';

/** How an attacker treats what the gateway sends. */
type Reading = 'reads' | 'never-reads';

export class Field {
  private readonly sockets = new Set<Socket>();
  private turn = 0;
  /** Logins that were answered with OK, as far as anybody counts them. */
  admitted = 0;

  constructor(
    private readonly where: Where,
    private readonly victims: readonly Terminal[],
  ) {}

  /** A terminal that is provisioned: the next one each time. */
  victim(): Terminal {
    return this.victims[this.turn++ % this.victims.length]!;
  }

  /** @param reading one who never reads does not see that the gateway hangs up either */
  dial(localAddress: string, reading: Reading = 'reads'): Socket {
    const socket = connect({ ...this.where, localAddress, noDelay: true, allowHalfOpen: true });
    this.sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.sockets.delete(socket));
    // With a reset nobody's port waits for what might still come.
    if (reading === 'reads') socket.on('end', () => socket.resetAndDestroy()).resume();
    return socket;
  }

  /** So many connections, each made anew when it has been closed: the next one each time. */
  crowd(count: number, addressOf: (i: number) => string, reading: Reading = 'reads'): () => Socket {
    const own: Socket[] = [];
    let next = 0;
    return () => {
      const i = next++ % count;
      const known = own[i];
      if (known !== undefined && !known.destroyed) return known;
      return (own[i] = this.dial(addressOf(i), reading));
    };
  }

  /** Nothing is left of an attack but whose turn it is. */
  clear(): void {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }
}

/** Half a million, none of them that of the sessions that stand. */
export const anyAddress = (): string => `127.${randomInt(8, 16)}.${randomInt(256)}.${randomInt(1, 255)}`;
