import { createDecipheriv, createHmac } from 'node:crypto';
import fc from 'fast-check';
import {
  isPlain,
  keyRing,
  seal,
  unseal,
  UnsealError,
  type KeyRing,
  type SealedColumn,
} from '../../src/crypto/sealing';

const OLD = { id: '00000001', key: Buffer.alloc(32, 1) };
const NEW = { id: 'a1b2c3d4', key: Buffer.alloc(32, 2) };
const ring = keyRing([OLD, NEW]);
const COLUMNS: SealedColumn[] = ['uplink_password', 'downlink_password', 'base_key', 'session_key', 'check'];
const SECRET = Buffer.from('5b5b0e1f64a7c0d9f1e2d3c4b5a69788aabbccddeeff00112233445566778899', 'hex');
const sealed = seal(ring, 'base_key', 'T-1', SECRET);
const open = (stored: Buffer, column: SealedColumn = 'base_key', serial = 'T-1', keys = ring) =>
  unseal(keys, column, serial, stored);

test('what is sealed opens again, for any secret, row and column', () => {
  const secret = fc.uint8Array({ maxLength: 64 }).map((some) => Buffer.from(some));
  const serial = fc.string({ unit: fc.constantFrom(...'AZaz09._-'), minLength: 1, maxLength: 16 });
  fc.assert(
    fc.property(secret, serial, fc.constantFrom(...COLUMNS), (plain, name, column) => {
      const stored = seal(ring, column, name, plain);
      expect(stored).toHaveLength(1 + 4 + 12 + plain.length + 16);
      expect(open(stored, column, name)).toEqual(plain);
      expect(isPlain(stored)).toBe(false);
    }),
  );
});

test('the stored form is that of the page: AES-256-GCM under a key of its own for row and column', () => {
  const bound = Buffer.from('base_key\0T-1');
  const key = createHmac('sha256', NEW.key).update(bound).digest();
  expect(sealed.subarray(0, 5).toString('hex')).toBe(`01${NEW.id}`);
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(5, 17), { authTagLength: 16 });
  decipher.setAAD(bound).setAuthTag(sealed.subarray(-16));
  const body = sealed.subarray(17, -16);
  expect(Buffer.concat([decipher.update(body), decipher.final()])).toEqual(SECRET);
});

test('the newest key seals; older ones still open', () => {
  const before = seal(keyRing([OLD]), 'base_key', 'T-1', SECRET);
  expect(before.toString('hex', 1, 5)).toBe(OLD.id);
  expect(open(before)).toEqual(SECRET);
  expect(sealed.toString('hex', 1, 5)).toBe(NEW.id);
  expect(() => open(sealed, 'base_key', 'T-1', keyRing([OLD]))).toThrow(UnsealError);
});

test('sealing the same again gives different bytes', () => {
  const again = Array.from({ length: 200 }, () => seal(ring, 'base_key', 'T-1', SECRET).toString('hex'));
  expect(new Set(again).size).toBe(200);
});

test('no four bytes of the secret stand in the sealed form', () => {
  for (let at = 0; at + 4 <= SECRET.length; at++)
    expect(sealed.includes(SECRET.subarray(at, at + 4))).toBe(false);
});

describe('does not open', () => {
  test.each(['T-2', 't-1', 'T-1 ', 'T-', ''])('in the row of %j', (serial) => {
    expect(() => open(sealed, 'base_key', serial)).toThrow(UnsealError);
  });

  test.each(COLUMNS.filter((column) => column !== 'base_key'))('in the column %s', (column) => {
    expect(() => open(sealed, column)).toThrow(UnsealError);
  });

  test('under another key with the same id', () => {
    const other = keyRing([{ ...NEW, key: Buffer.alloc(32, 3) }]);
    expect(() => open(sealed, 'base_key', 'T-1', other)).toThrow(UnsealError);
  });

  test('with any one bit altered', () => {
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = Buffer.from(sealed);
      altered[bit >> 3]! ^= 1 << (bit & 7);
      // 0x01 to 0x00 is the plain form: what comes out is the sealed bytes, of no use to anybody.
      if (altered[0] === 0) expect(open(altered)).toEqual(sealed.subarray(1));
      else expect(() => open(altered)).toThrow(UnsealError);
    }
  });

  test('truncated at any length, or with bytes behind it', () => {
    for (let length = 0; length < sealed.length; length++) {
      expect(() => open(sealed.subarray(0, length))).toThrow(UnsealError);
    }
    expect(() => open(Buffer.concat([sealed, Buffer.alloc(1)]))).toThrow(UnsealError);
  });

  test('random bytes: an UnsealError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (some) => {
        const stored = Buffer.from(some);
        if (stored[0] === 0) return;
        expect(() => open(stored)).toThrow(UnsealError);
      }),
    );
  });

  test.each<[string, Buffer, RegExp, KeyRing?]>([
    ['empty', Buffer.alloc(0), /^base_key of T-1: not a stored secret$/],
    ['too short', sealed.subarray(0, 32), /^base_key of T-1: not a stored secret$/],
    ['of no known form', Buffer.alloc(64, 2), /^base_key of T-1: not a stored secret$/],
    ['cut', sealed.subarray(0, 33), /^base_key of T-1: does not open under key a1b2c3d4$/],
    ['strange', sealed, /^base_key of T-1: sealed under key a1b2c3d4, which is not there$/, keyRing([OLD])],
  ])('and the error tells why: %s', (_name, stored, why, keys = ring) => {
    const fails = () => open(stored, 'base_key', 'T-1', keys);
    expect(fails).toThrow(why);
    expect(fails).toThrow(UnsealError);
  });

  test('and the error tells nothing of the secret', () => {
    const altered = Buffer.from(sealed);
    altered[20]! ^= 1;
    expect(() => open(altered)).toThrow(/^base_key of T-1: does not open under key a1b2c3d4$/);
  });
});

describe('plain, as SQL brought it in', () => {
  const plain = Buffer.concat([Buffer.of(0), SECRET]);

  test('opens as it stands, in any row and column', () => {
    expect(isPlain(plain)).toBe(true);
    expect(open(plain)).toEqual(SECRET);
    expect(open(plain, 'check', 'other')).toEqual(SECRET);
    expect(open(Buffer.of(0))).toEqual(Buffer.alloc(0));
  });

  test.each([2, 0x30, 0x80, 0xff])('a first byte of %d is no stored secret', (first) => {
    const stored = Buffer.concat([Buffer.of(first), sealed.subarray(1)]);
    expect(isPlain(stored)).toBe(false);
    expect(() => open(stored)).toThrow(UnsealError);
  });
});

test('a key ring holds at least one key', () => {
  expect(() => keyRing([])).toThrow(RangeError);
});
