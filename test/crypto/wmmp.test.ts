import { randomBytes } from 'node:crypto';
import {
  isWmmpBaseKeySize,
  newWmmpKey,
  newWmmpPassword,
  wmmpBaseKeyDigest,
  wmmpDecrypt,
  wmmpDigest,
  wmmpEncrypt,
} from '../../src/crypto/wmmp';
import { shownBaseKey, tripleDes, undoTripleDes, wmmpFrameDigest } from '../support/wmmpOracle';

const known = { imei: '354494040518570', imsi: '460020084678120', password: Buffer.from('vkwF2SJa') };

test('the digest of a login that a terminal in the field has sent', () => {
  const covered = Buffer.from(
    '003c000100000001030000004130304d533830313133393030303253313233343536373800000000',
    'hex',
  );
  expect(wmmpDigest(covered, { ...known, timestamp: 0 }).toString('hex')).toBe(
    'd9cbd6c3f3e4b84cef34283b265cb771',
  );
});

test('an IMSI of less than 15 digits is padded, a timestamp is under the digest', () => {
  for (const imsi of ['460020', '46002008467812', '460020084678120']) {
    const signing = { ...known, imsi, timestamp: 0xfffffffe };
    const covered = randomBytes(28);
    expect(wmmpDigest(covered, signing)).toEqual(wmmpFrameDigest(covered, signing));
  }
});

test('what a login shows of its base key', () => {
  const key = randomBytes(24);
  expect(wmmpBaseKeyDigest(key)).toEqual(shownBaseKey(key));
});

// NIST SP 800-20, table A.1: with equal parts triple DES is DES.
test('triple DES is the one of the standard', () => {
  const key = Buffer.from('0101010101010101'.repeat(3), 'hex');
  expect(wmmpEncrypt(key, Buffer.from('8000000000000000', 'hex')).toString('hex')).toBe('95f8a5e5dd31d900');
});

test.each([1, 7, 8, 9, 36, 77])('%d bytes, padded with zeros to whole blocks, and back', (size) => {
  const used = randomBytes(16);
  const key = Buffer.concat([used, used.subarray(0, 8)]);
  const plain = randomBytes(size);
  const ciphertext = wmmpEncrypt(key, plain);
  expect(ciphertext).toEqual(tripleDes(key, plain));
  expect(undoTripleDes(key, ciphertext).subarray(0, size)).toEqual(plain);
  expect(wmmpDecrypt(key, ciphertext)).toEqual(Buffer.concat([plain], Math.ceil(size / 8) * 8));
  expect(wmmpDecrypt(key, ciphertext.subarray(1))).toBeUndefined();
});

test('new values: 8 characters, each equally likely; keys whose third part is the first', () => {
  const seen = new Map<string, number>();
  for (let n = 0; n < 4000; n++) {
    const password = newWmmpPassword(randomBytes).toString('latin1');
    expect(password).toMatch(/^[A-Za-z0-9]{8}$/);
    for (const letter of password) seen.set(letter, (seen.get(letter) ?? 0) + 1);
  }
  const expected = (4000 * 8) / 62;
  expect(seen.size).toBe(62);
  // Six standard deviations: a fair source fails this once in some ten million runs.
  for (const count of seen.values()) expect(Math.abs(count - expected)).toBeLessThan(6 * Math.sqrt(expected));
  const key = newWmmpKey(randomBytes);
  expect([key.length, key.subarray(16)]).toEqual([24, key.subarray(0, 8)]);
});

test('bytes that would make some characters likelier are drawn anew', () => {
  const drawn = [Buffer.alloc(8, 0xff), Buffer.alloc(8, 248), Buffer.alloc(8, 247)];
  expect(newWmmpPassword(() => drawn.shift()!).toString('latin1')).toBe('99999999');
});

test('base keys have 24 bytes', () => {
  const sizes = Array.from({ length: 65 }, (_, size) => size);
  expect(sizes.filter(isWmmpBaseKeySize)).toEqual([24]);
});
