/**
 * The keys of a running gateway. The file may gain keys while it runs; a new sealing key opens at once, and seals as
 * soon as every living gateway of the database holds it, so that none ever meets a value that it cannot open.
 */
import { isDeepStrictEqual } from 'node:util';
import type { PacketKeys } from '../../crypto/credentialPacket';
import { keyRing, type KeyRing, type SealingKey } from '../../crypto/sealing';
import type { GatewayKeys } from './keyFile';

export class KeyKeeper {
  private sealing: KeyRing;
  private packet: PacketKeys;

  constructor(private keys: GatewayKeys) {
    this.sealing = keyRing(keys.sealing);
    this.packet = byId(keys.packet);
  }

  readonly ring = (): KeyRing => this.sealing;
  readonly packetKeys = (): PacketKeys => this.packet;

  /** Ids of the sealing keys that this process can open values with. */
  get sealingIds(): string[] {
    return this.keys.sealing.map(({ id }) => id);
  }

  /** The newest key that is not used for sealing yet. */
  get candidate(): SealingKey | undefined {
    const last = this.keys.sealing.at(-1);
    return last?.id === this.sealing.newest.id ? undefined : last;
  }

  /** New values are sealed under this key of the file from now on. */
  use(id: string): void {
    const key = this.sealing.byId.get(id);
    if (key !== undefined) this.sealing = { ...this.sealing, newest: key };
  }

  /** At start: the newest of the keys that the database knows already; a later one waits for the other gateways. */
  useNewestOf(known: ReadonlySet<string>): void {
    const newest = this.keys.sealing.filter(({ id }) => known.has(id)).at(-1);
    if (newest !== undefined) this.use(newest.id);
  }

  /** Whether these are the keys that it has. */
  holds(keys: GatewayKeys): boolean {
    return isDeepStrictEqual(keys, this.keys);
  }

  /** The file has changed. Throws, and goes on with what it has, where a key in use is gone. */
  replace(keys: GatewayKeys): void {
    const { byId: sealing } = keyRing(keys.sealing);
    const kept = sealing.get(this.sealing.newest.id);
    if (kept === undefined || !kept.key.equals(this.sealing.newest.key))
      throw new Error(`the sealing key in use, ${this.sealing.newest.id}, is not in the file any more`);
    this.keys = keys;
    this.sealing = { newest: kept, byId: sealing };
    this.packet = byId(keys.packet);
  }
}

function byId(keys: readonly SealingKey[]): ReadonlyMap<string, SealingKey> {
  return new Map(keys.map((key) => [key.id, key]));
}
