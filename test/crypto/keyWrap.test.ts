import fc from 'fast-check';
import { isBaseKeySize, unwrapKey, wrapKey } from '../../src/crypto/keyWrap';
import * as oracle from '../support/oracle';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const KEK = '000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F';
const DATA = '00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F';

/** All that differ from it by one bit. */
const flips = (bytes: Buffer): Buffer[] =>
  Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    return flipped;
  });

/** RFC 3394, section 4: key size, data size, ciphertext. */
const RFC_3394 = [
  ['4.1', 128, 128, '1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5'],
  ['4.2', 192, 128, '96778B25AE6CA435 F92B5B97C050AED2 468AB8A17AD84E5D'],
  ['4.3', 256, 128, '64E8C3F9CE0F5BA2 63E9777905818A2A 93C8191E7D6E8AE7'],
  ['4.4', 192, 192, '031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2'],
  ['4.5', 256, 192, 'A8F9BC1612C68B3F F6E6F4FBE30E71E4 769C8B80A32CB895 8CD5D17D6B254DA1'],
  ['4.6', 256, 256, '28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21'],
] as const;

describe.each(RFC_3394)('RFC 3394, %s: %d-bit key, %d bits of data', (_, keyBits, dataBits, text) => {
  const key = hex(KEK).subarray(0, keyBits / 8);
  const data = hex(DATA).subarray(0, dataBits / 8);

  test('wraps', () => expect(wrapKey(key, data)).toEqual(hex(text)));
  test('unwraps', () => expect(unwrapKey(key, hex(text))).toEqual(data));
  test('the oracle does both', () => {
    expect(oracle.wrap(key, data)).toEqual(hex(text));
    expect(oracle.unwrap(key, hex(text))).toEqual(data);
  });

  test('one bit altered anywhere: nothing', () => {
    const opened = flips(hex(text)).filter((altered) => unwrapKey(key, altered) !== undefined);
    expect(opened).toEqual([]);
  });

  test('any other length: nothing', () => {
    const longer = Buffer.concat([hex(text), Buffer.alloc(17)]);
    for (let length = 0; length <= longer.length; length++) {
      if (length !== hex(text).length) expect(unwrapKey(key, longer.subarray(0, length))).toBeUndefined();
    }
  });

  test('another key, of any size: nothing', () => {
    const opened = flips(key).filter((other) => unwrapKey(other, hex(text)) !== undefined);
    expect(opened).toEqual([]);
    for (let size = 0; size <= 40; size++) {
      if (size !== key.length) expect(unwrapKey(Buffer.alloc(size, 7), hex(text))).toBeUndefined();
    }
  });
});

test('any key and data: as the oracle wraps, and back', () => {
  const bytes = (size: number) =>
    fc.uint8Array({ minLength: size, maxLength: size }).map((some) => Buffer.from(some));
  const key = fc.constantFrom(16, 24, 32).chain(bytes);
  const data = fc.constantFrom(16, 24, 32, 64).chain(bytes);
  fc.assert(
    fc.property(key, data, (under, plain) => {
      const wrapped = wrapKey(under, plain);
      expect(wrapped).toEqual(oracle.wrap(under, plain));
      expect(unwrapKey(under, wrapped)).toEqual(plain);
      expect(oracle.unwrap(under, wrapped)).toEqual(plain);
    }),
    { numRuns: 50 },
  );
});

test('wrapping under a key of no AES size is a mistake of the caller', () => {
  for (const size of [0, 8, 15, 17, 20, 33, 64]) {
    expect(() => wrapKey(Buffer.alloc(size), Buffer.alloc(16))).toThrow(RangeError);
  }
});

test('base keys have 16 or 32 bytes', () => {
  const sizes = Array.from({ length: 65 }, (_, size) => size);
  expect(sizes.filter(isBaseKeySize)).toEqual([16, 32]);
});
