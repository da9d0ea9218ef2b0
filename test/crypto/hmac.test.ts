import fc from 'fast-check';
import { createHash, createHmac } from 'node:crypto';
import { digestOf, hmacSha256 } from '../../src/crypto/hmac';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((some) => Buffer.from(some));

test('HMAC-SHA-256 is node:crypto’s, whatever the key and however the message is cut', () => {
  fc.assert(
    fc.property(bytes(200), fc.array(bytes(300), { maxLength: 5 }), (key, parts) => {
      const expected = createHmac('sha256', key).update(Buffer.concat(parts)).digest();
      expect(hmacSha256(key, ...parts)).toEqual(expected);
    }),
  );
});

// RFC 4231, test cases 1, 2, 6: a key of a usual size, a short one, one beyond a block.
test.each([
  ['0b'.repeat(20), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
  [
    '4a656665',
    'what do ya want for nothing?',
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  ],
  [
    'aa'.repeat(131),
    'Test Using Larger Than Block-Size Key - Hash Key First',
    '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
  ],
])('RFC 4231: under key %s', (key, message, expected) => {
  expect(hmacSha256(Buffer.from(key, 'hex'), Buffer.from(message)).toString('hex')).toBe(expected);
});

test.each([4_000, 4_032, 4_033, 70_000])('takes a message of %d bytes', (size) => {
  const [key, message] = [Buffer.from('key'), Buffer.alloc(size, 0x5a)];
  expect(hmacSha256(key, message)).toEqual(createHmac('sha256', key).update(message).digest());
});

test('a digest stays what it was when the next one is made', () => {
  const first = hmacSha256(Buffer.from('a'), Buffer.from('b'));
  const before = Buffer.from(first);
  hmacSha256(Buffer.from('c'), Buffer.from('d'));
  expect(first).toEqual(before);
});

test.each(['md5', 'sha256'] as const)('digestOf(%s) is node:crypto’s', (algorithm) => {
  fc.assert(
    fc.property(bytes(300), (some) => {
      expect(digestOf(algorithm, some)).toEqual(createHash(algorithm).update(some).digest());
    }),
  );
});
