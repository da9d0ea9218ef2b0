/** Digests and encryption of WMMP 3.0 (docs/wmmp.md, "Digest" and "Encryption"). */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { encodeTlvs } from '../protocol/wmmp/encode';
import { NEVER } from '../protocol/wmmp/tags';
import type { DigestContext } from './digest';
import { digestOf } from './hmac';

const IMSI_FIELD = 15;
const BLOCK = 8;
/** Of 24-byte keys the third part repeats the first: two-key triple DES. */
const KEY_USED = 16;

/** 16 bytes of MD5 over frame, timestamp, IMEI with its 0x00, IMSI padded to 15 bytes, and password. */
export function wmmpDigest(covered: Buffer, { timestamp, imei, imsi, password }: DigestContext): Buffer {
  const tail = Buffer.alloc(4 + imei.length + 1 + IMSI_FIELD);
  tail.writeUInt32BE(timestamp, 0);
  tail.write(imei, 4, 'latin1');
  tail.write(imsi, 4 + imei.length + 1, IMSI_FIELD, 'latin1');
  return digestOf('md5', Buffer.concat([covered, tail, password]));
}

/** What a LOGIN that asks for a session key shows of its base key: 16 bytes. @param baseKey 24 bytes */
export function wmmpBaseKeyDigest(baseKey: Buffer): Buffer {
  const tlvs = encodeTlvs(['baseKey', 'baseKeyExpiry'], { baseKey, baseKeyExpiry: NEVER });
  return digestOf('md5', tlvs);
}

/** Base keys that this dialect can use. One of another size counts here as none. */
export function isWmmpBaseKeySize(size: number): boolean {
  return size === 24;
}

/** A key of this dialect: 24 bytes, the third part equal to the first. */
export function newWmmpKey(random: (size: number) => Buffer): Buffer {
  const used = random(KEY_USED);
  return Buffer.concat([used, used.subarray(0, BLOCK)]);
}

const PASSWORD_SIZE = 8;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** Bytes from here on are drawn anew, so that every character is equally likely. */
const FAIR_BELOW = 256 - (256 % ALPHABET.length);

/** A password of this dialect: 8 characters of `A-Z a-z 0-9`. */
export function newWmmpPassword(random: (size: number) => Buffer): Buffer {
  const drawn: string[] = [];
  while (drawn.length < PASSWORD_SIZE) {
    for (const byte of random(PASSWORD_SIZE)) {
      if (byte < FAIR_BELOW && drawn.length < PASSWORD_SIZE)
        drawn.push(ALPHABET[byte % ALPHABET.length] ?? '');
    }
  }
  return Buffer.from(drawn.join(''), 'latin1');
}

/** [?] Two-key triple DES in ECB mode: no source names another mode or an initial vector. */
const CIPHER = 'des-ede';

/** Encrypts under the first 16 bytes of a key, padded with zeros to whole blocks of 8 bytes. */
export function wmmpEncrypt(key: Buffer, plain: Buffer): Buffer {
  const padded = Buffer.concat([plain], Math.ceil(plain.length / BLOCK) * BLOCK);
  const cipher = createCipheriv(CIPHER, key.subarray(0, KEY_USED), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(padded), cipher.final()]);
}

/** The plain text with its padding, or undefined where these are no whole blocks. */
export function wmmpDecrypt(key: Buffer, ciphertext: Buffer): Buffer | undefined {
  if (ciphertext.length % BLOCK !== 0) return undefined;
  const decipher = createDecipheriv(CIPHER, key.subarray(0, KEY_USED), null).setAutoPadding(false);
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}
