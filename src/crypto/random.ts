/** Unpredictable bytes in small portions. Asking the system's generator for a few costs as much as for thousands. */
import { randomBytes, randomFillSync } from 'node:crypto';

const POOL_SIZE = 8_192;

const pool = Buffer.alloc(POOL_SIZE);
let used = POOL_SIZE;

/** Bytes that nobody else has got or will get; what has been handed out is not kept. */
export function freshRandom(size: number): Buffer {
  if (size > POOL_SIZE) return randomBytes(size);
  if (used + size > POOL_SIZE) {
    randomFillSync(pool);
    used = 0;
  }
  const taken = pool.subarray(used, used + size);
  const fresh = Buffer.from(taken);
  taken.fill(0);
  used += size;
  return fresh;
}
