/** Serial-number arithmetic on 32-bit sequence numbers (RFC 1982, SERIAL_BITS = 32). */

/** Whether `next` is above `last`. A difference of exactly 2^31 is not above. */
export function isAbove(next: number, last: number): boolean {
  const distance = (next - last) >>> 0;
  return distance > 0 && distance < 0x80000000;
}
