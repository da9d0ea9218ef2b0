/**
 * Secrets at rest (docs/operations.md, "Secrets at rest").
 *
 *     stored = 0x00 | plain                                    as SQL brought it in
 *            | 0x01 | key id (4) | nonce (12) | ciphertext | tag (16)
 *
 * AES-256-GCM under HMAC-SHA-256( key, "column \0 serial" ), with the same text as associated data: a value
 * copied to another row or column does not open. A key of its own for every row and column keeps random nonces
 * far from the 2^32 values that one key may seal (NIST SP 800-38D, section 8.3), however many logins there are.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { hmacSha256 } from './hmac';
import { freshRandom } from './random';

const PLAIN = 0x00;
const SEALED = 0x01;
const KEY_ID_END = 5;
const NONCE_END = 17;
const TAG_SIZE = 16;

/** Columns that hold sealed values. */
export type SealedColumn =
  | 'uplink_password'
  | 'downlink_password'
  | 'base_key'
  | 'session_key'
  | 'new_uplink_password'
  | 'new_downlink_password'
  | 'new_base_key'
  | 'sms_text'
  | 'check';

export interface SealingKey {
  /** 8 lower-case hexadecimal digits. */
  readonly id: string;
  /** 32 bytes. */
  readonly key: Buffer;
}

/** Keys by id; new values are sealed under the newest, older ones still open. */
export interface KeyRing {
  readonly newest: SealingKey;
  readonly byId: ReadonlyMap<string, SealingKey>;
}

export function keyRing(keys: readonly SealingKey[]): KeyRing {
  const newest = keys.at(-1);
  if (newest === undefined) throw new RangeError('a key ring needs at least one key');
  return { newest, byId: new Map(keys.map((key) => [key.id, key])) };
}

export function seal(ring: KeyRing, column: SealedColumn, serial: string, secret: Buffer): Buffer {
  const { id, key } = ring.newest;
  const nonce = freshRandom(NONCE_END - KEY_ID_END);
  const bound = binding(column, serial);
  const cipher = createCipheriv('aes-256-gcm', rowKey(key, bound), nonce).setAAD(bound);
  const body = cipher.update(secret);
  // Has nothing to add: GCM does not pad.
  cipher.final();
  const stored = Buffer.allocUnsafe(NONCE_END + body.length + TAG_SIZE);
  stored[0] = SEALED;
  stored.write(id, 1, 'hex');
  stored.set(nonce, KEY_ID_END);
  stored.set(body, NONCE_END);
  stored.set(cipher.getAuthTag(), NONCE_END + body.length);
  return stored;
}

/** A stored value that does not open: altered, moved, or sealed under a key that the ring does not hold. */
export class UnsealError extends Error {
  override readonly name = 'UnsealError';
}

/** The secret in a stored value, sealed or plain. Throws an UnsealError. */
export function unseal(ring: KeyRing, column: SealedColumn, serial: string, stored: Buffer): Buffer {
  if (stored[0] === PLAIN) return stored.subarray(1);
  if (stored[0] !== SEALED || stored.length < NONCE_END + TAG_SIZE) {
    throw new UnsealError(`${column} of ${serial}: not a stored secret`);
  }
  const id = stored.toString('hex', 1, KEY_ID_END);
  const key = ring.byId.get(id);
  if (key === undefined)
    throw new UnsealError(`${column} of ${serial}: sealed under key ${id}, which is not there`);
  try {
    return openSealed(key, binding(column, serial), stored);
  } catch {
    throw new UnsealError(`${column} of ${serial}: does not open under key ${id}`);
  }
}

function openSealed({ key }: SealingKey, bound: Buffer, stored: Buffer): Buffer {
  const nonce = stored.subarray(KEY_ID_END, NONCE_END);
  const decipher = createDecipheriv('aes-256-gcm', rowKey(key, bound), nonce, { authTagLength: TAG_SIZE });
  decipher.setAAD(bound).setAuthTag(stored.subarray(stored.length - TAG_SIZE));
  const body = stored.subarray(NONCE_END, stored.length - TAG_SIZE);
  return Buffer.concat([decipher.update(body), decipher.final()]);
}

/** The id of the key that a value is sealed under; undefined: it is plain. */
export function sealedUnder(stored: Buffer): string | undefined {
  return stored[0] === SEALED ? stored.toString('hex', 1, KEY_ID_END) : undefined;
}

export function isPlain(stored: Buffer): boolean {
  return stored[0] === PLAIN;
}

function rowKey(key: Buffer, bound: Buffer): Buffer {
  return hmacSha256(key, bound);
}

function binding(column: SealedColumn, serial: string): Buffer {
  return Buffer.from(`${column}\0${serial}`, 'latin1');
}
