import { timingSafeEqual } from 'node:crypto';

/** Compares two secrets of public length in constant time. Different lengths are unequal. */
export function equalInConstantTime(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
