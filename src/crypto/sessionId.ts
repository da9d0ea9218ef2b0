/**
 * Session ids that tell the gateways, and nobody else, whose they are: so a session is found by its id through the
 * session row's primary key, and logins have no second index to keep.
 *
 *     session id = random (4) | terminal id (4) xor first 4 bytes of HMAC-SHA-256( key, "session id" | random )
 *
 * Not a secret, and nobody is let in by one: who breaks the mask learns the order in which terminals were provisioned.
 */
import { hmacSha256 } from './hmac';
import type { KeyRing } from './sealing';

const HALF = 4;
const LABEL = Buffer.from('session id', 'latin1');

/**
 * @param terminalId below 2^32 by far: one a provisioned terminal
 * @param random 4 unpredictable bytes
 * @returns 8 bytes
 */
export function makeSessionId({ newest }: KeyRing, terminalId: number, random: Buffer): Buffer {
  const masked = Buffer.allocUnsafe(HALF);
  masked.writeUInt32BE((terminalId ^ mask(newest.key, random)) >>> 0);
  return Buffer.concat([random, masked]);
}

/** The terminals whose session it may be, one a key of the ring: the session row tells which, if any. */
export function sessionOwners({ byId }: KeyRing, sessionId: Buffer): number[] {
  const random = sessionId.subarray(0, HALF);
  const masked = sessionId.readUInt32BE(HALF);
  return [...byId.values()].map(({ key }) => (masked ^ mask(key, random)) >>> 0);
}

function mask(key: Buffer, random: Buffer): number {
  return hmacSha256(key, LABEL, random).readUInt32BE(0);
}
