/**
 * HMAC-SHA-256 (RFC 2104) by two one-shot hashes.
 *
 * node:crypto's Hmac is an object with a finalizer for each digest; for frames of a few hundred bytes it takes twice as
 * long as this, and the collector pays once more (docs/performance.md, "What was tried").
 */
import { hash } from 'node:crypto';

const BLOCK = 64;
const SIZE = 32;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** Larger messages than frames of the usual limit get a buffer of their own. */
const SCRATCH_SIZE = 4_096;
// Not as Buffers, whose `fill` goes through native code.
const scratch = new Uint8Array(SCRATCH_SIZE);
const outer = Buffer.allocUnsafeSlow(BLOCK + SIZE);
const outerBytes = new Uint8Array(outer.buffer);

/** @param algorithm one that OpenSSL has  @returns its digest of `bytes` */
export function digestOf(algorithm: 'md5' | 'sha256', bytes: Buffer): Buffer {
  return Buffer.from(hash(algorithm, bytes, 'binary'), 'latin1');
}

/**
 * @param parts the message, in order
 * @returns 32 bytes
 */
export function hmacSha256(key: Buffer, ...parts: readonly Buffer[]): Buffer {
  let size = BLOCK;
  for (const part of parts) size += part.length;
  const inner = size > SCRATCH_SIZE ? new Uint8Array(size) : scratch;
  padBoth(key.length > BLOCK ? digestOf('sha256', key) : key, inner);
  let end = BLOCK;
  for (const part of parts) {
    inner.set(part, end);
    end += part.length;
  }
  // Digests go as text from one hash to the next: a Buffer of their own costs more than the hash.
  outer.write(hash('sha256', inner.subarray(0, end), 'binary'), BLOCK, 'latin1');
  const digest = digestOf('sha256', outer);
  inner.fill(0, 0, end);
  outerBytes.fill(0);
  return digest;
}

function padBoth(key: Buffer, inner: Uint8Array): void {
  inner.fill(INNER_PAD, 0, BLOCK);
  outerBytes.fill(OUTER_PAD, 0, BLOCK);
  for (let i = 0; i < key.length; i++) {
    const byte = key[i] as number;
    inner[i] = byte ^ INNER_PAD;
    outerBytes[i] = byte ^ OUTER_PAD;
  }
}
