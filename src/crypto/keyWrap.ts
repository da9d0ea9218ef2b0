/** AES key wrap with the default initial value (RFC 3394, section 2.2.3.1). */
import { createCipheriv, createDecipheriv } from 'node:crypto';

const INITIAL_VALUE = Buffer.alloc(8, 0xa6);
const CIPHERS: ReadonlyMap<number, string> = new Map([
  [16, 'id-aes128-wrap'],
  [24, 'id-aes192-wrap'],
  [32, 'id-aes256-wrap'],
]);

/**
 * @param key 16, 24 or 32 bytes
 * @param plain a multiple of 8 bytes, 16 at least
 * @returns 8 bytes more than `plain`
 */
export function wrapKey(key: Buffer, plain: Buffer): Buffer {
  // The whole is wrapped at once; `final` would have nothing to add, and costs a seventh more.
  return createCipheriv(cipherFor(key), key, INITIAL_VALUE).update(plain);
}

/** The key wrapped, or undefined where `wrapped` was not made under `key` or was altered. */
export function unwrapKey(key: Buffer, wrapped: Buffer): Buffer | undefined {
  if (wrapped.length < 24 || wrapped.length % 8 !== 0) return undefined;
  try {
    const decipher = createDecipheriv(cipherFor(key), key, INITIAL_VALUE);
    return Buffer.concat([decipher.update(wrapped), decipher.final()]);
  } catch {
    return undefined;
  }
}

function cipherFor(key: Buffer): string {
  const cipher = CIPHERS.get(key.length);
  if (cipher === undefined) throw new RangeError(`key wrap: a key of 16, 24 or 32 bytes, not ${key.length}`);
  return cipher;
}

/** Base keys that version 4.0 can use. One of another size counts there as none. */
export function isBaseKeySize(size: number): boolean {
  return size === 16 || size === 32;
}
