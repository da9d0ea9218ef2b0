import fc from 'fast-check';
import { baseKeyDigest, frameDigest } from '../../src/crypto/digest';
import { HMAC_SHA256, MD5, type SignedSuite } from '../../src/protocol/suites';
import * as oracle from '../support/oracle';

const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((some) => Buffer.from(some));
const digits = (minLength: number, maxLength = minLength) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength, maxLength });
const suite = fc.constantFrom(MD5, HMAC_SHA256);
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const context = fc.record({ timestamp: u32, imei: digits(15), imsi: digits(6, 15), password: bytes(1, 64) });

test('frame digests are the oracle’s', () => {
  fc.assert(
    fc.property(suite, bytes(28, 300), context, (which, covered, under) => {
      const digest = frameDigest(which, covered, under);
      expect(digest).toEqual(oracle.frameDigest(which, covered, under));
      expect(digest).toHaveLength(which === MD5 ? 16 : 32);
    }),
  );
});

test('base key digests are the oracle’s, 16 bytes in either suite', () => {
  const serial = fc.string({ unit: fc.constantFrom(...'ABCxyz019._-'), minLength: 1, maxLength: 16 });
  fc.assert(
    fc.property(suite, serial, u32, fc.oneof(bytes(16), bytes(32)), (which, name, timestamp, key) => {
      const digest = baseKeyDigest(which, oracle.paddedSerial(name), timestamp, key);
      expect(digest).toEqual(oracle.baseKeyDigest(which, name, timestamp, key));
      expect(digest).toHaveLength(16);
    }),
  );
});

describe.each<SignedSuite>([MD5, HMAC_SHA256])('suite %d', (which) => {
  const covered = Buffer.from('covered');
  const under = {
    timestamp: 1800000007,
    imei: '868123000000019',
    imsi: '460001234567890',
    password: Buffer.from('secret'),
  };
  const base = frameDigest(which, covered, under);

  test.each([
    ['the frame', { covered: Buffer.from('Covered') }],
    ['the timestamp', { timestamp: 1800000008 }],
    ['the IMEI', { imei: '868123000000018' }],
    ['the IMSI', { imsi: '460001234567891' }],
    ['the password', { password: Buffer.from('secreT') }],
  ])('depends on %s', (_, other) => {
    const changed = { covered, ...under, ...other };
    expect(frameDigest(which, changed.covered, changed)).not.toEqual(base);
  });

  test('takes timestamps over the whole range of 32 bits', () => {
    for (const timestamp of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const at = { ...under, timestamp };
      expect(frameDigest(which, covered, at)).toEqual(oracle.frameDigest(which, covered, at));
    }
  });

  test('does not change what it is given', () => {
    const before = Buffer.from(covered);
    frameDigest(which, covered, under);
    expect(covered).toEqual(before);
    expect(under.password).toEqual(Buffer.from('secret'));
  });
});
