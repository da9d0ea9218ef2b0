import crypto from 'node:crypto';
import { freshRandom } from '../../src/crypto/random';

test('bytes of the size that was asked for, never the same ones again', () => {
  const drawn = Array.from({ length: 5_000 }, (_, i) => freshRandom(8 + (i % 9)));
  expect(drawn.map(({ length }) => length)).toEqual(drawn.map((_, i) => 8 + (i % 9)));
  expect(new Set(drawn.map((bytes) => bytes.toString('hex', 0, 8))).size).toBe(drawn.length);
});

test('what was handed out is nobody else’s: writing to it changes no other', () => {
  const [one, other] = [freshRandom(16), freshRandom(16)];
  const before = Buffer.from(other);
  one.fill(0);
  expect(other).toEqual(before);
  expect(other.equals(Buffer.alloc(16))).toBe(false);
});

test('no byte value is missing in many', () => {
  const seen = new Set<number>();
  for (let i = 0; i < 1_000; i++) for (const byte of freshRandom(16)) seen.add(byte);
  expect(seen.size).toBe(256);
});

test.each([0, 1, 8_191, 8_192, 8_193, 100_000])('%d at once', (size) => {
  expect(freshRandom(size)).toHaveLength(size);
});

test('what was handed out is not kept', () => {
  const filled = jest.spyOn(crypto, 'randomFillSync');
  for (let n = 0; n < 1_000 && filled.mock.calls.length === 0; n++) freshRandom(16);
  const pool = filled.mock.calls[0]![0] as Buffer;
  filled.mockRestore();
  const drawn = Array.from({ length: 50 }, () => freshRandom(16));
  expect(drawn.filter((bytes) => pool.includes(bytes))).toEqual([]);
});
