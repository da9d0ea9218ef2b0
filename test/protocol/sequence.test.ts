/** RFC 1982, SERIAL_BITS = 32, as the protocol's section 3 asks for it. */
import fc from 'fast-check';
import { isAbove } from '../../src/protocol/sequence';

const LAST = 0xffffffff;
const HALF = 0x80000000;

test.each([
  [1, 0, true],
  [0, 0, false],
  [0, 1, false],
  [0, LAST, true],
  [LAST, 0, false],
  [5, LAST - 5, true],
  [HALF - 1, 0, true],
  [HALF, 0, false],
  [0, HALF, false],
  [HALF + 1, 0, false],
  [0, HALF + 1, true],
  [HALF, 1, true],
  [HALF, HALF - 1, true],
  [HALF - 1, HALF, false],
  [LAST, HALF, true],
  [LAST, HALF - 1, false],
])('%d above %d: %s', (next, last, expected) => {
  expect(isAbove(next, last)).toBe(expected);
});

const u32 = fc.integer({ min: 0, max: LAST });
const plus = (value: number, step: number) => Number((BigInt(value) + BigInt(step)) % 2n ** 32n);

test('exactly the next 2^31 - 1 values are above', () => {
  fc.assert(
    fc.property(u32, u32, (last, step) => {
      expect(isAbove(plus(last, step), last)).toBe(step >= 1 && step <= HALF - 1);
    }),
  );
});

test('of two values, one is above but for equal ones and those half the circle apart', () => {
  fc.assert(
    fc.property(u32, fc.oneof(u32, fc.constantFrom(0, 1, HALF - 1, HALF, HALF + 1, LAST)), (one, step) => {
      const other = plus(one, step);
      const above = [isAbove(one, other), isAbove(other, one)].filter(Boolean);
      expect(above).toHaveLength(step === 0 || step === HALF ? 0 : 1);
    }),
  );
});
