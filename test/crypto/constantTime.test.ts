import fc from 'fast-check';
import { equalInConstantTime } from '../../src/crypto/constantTime';

const bytes = fc.uint8Array({ maxLength: 40 }).map((some) => Buffer.from(some));

test('says what equals() says, for any two buffers of any lengths', () => {
  fc.assert(
    fc.property(bytes, fc.option(bytes, { nil: undefined }), (one, two) => {
      const other = two ?? Buffer.from(one);
      expect(equalInConstantTime(one, other)).toBe(one.equals(other));
    }),
  );
});

test('one bit anywhere makes a difference', () => {
  const secret = Buffer.from('0123456789abcdef0123456789abcdef', 'hex');
  for (let bit = 0; bit < secret.length * 8; bit++) {
    const other = Buffer.from(secret);
    other[bit >> 3]! ^= 1 << (bit & 7);
    expect(equalInConstantTime(secret, other)).toBe(false);
  }
});

test('a prefix is not the whole, and nothing equals nothing', () => {
  expect(equalInConstantTime(Buffer.from('abc'), Buffer.from('ab'))).toBe(false);
  expect(equalInConstantTime(Buffer.alloc(0), Buffer.from('a'))).toBe(false);
  expect(equalInConstantTime(Buffer.alloc(0), Buffer.alloc(0))).toBe(true);
});
