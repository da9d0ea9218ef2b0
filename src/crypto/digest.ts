/** Frame digests and base key digests of both suites (docs/protocol.md, "Digest" and "Session key"). */
import { createHmac, hash } from 'node:crypto';
import { MD5, type SignedSuite } from '../protocol/suites';

/** What a digest covers besides the frame. */
export interface DigestContext {
  /** Unix seconds. */
  readonly timestamp: number;
  readonly imei: string;
  readonly imsi: string;
  /** 1 to 64 bytes. */
  readonly password: Buffer;
}

/** 16 bytes under MD5, 32 under HMAC-SHA-256. */
export function frameDigest(suite: SignedSuite, covered: Buffer, context: DigestContext): Buffer {
  const tail = identityTail(context);
  if (suite === MD5) return md5(Buffer.concat([covered, tail, context.password]));
  return createHmac('sha256', context.password).update(covered).update(tail).digest();
}

function identityTail({ timestamp, imei, imsi }: DigestContext): Buffer {
  const tail = Buffer.allocUnsafe(4 + imei.length + imsi.length);
  tail.writeUInt32BE(timestamp, 0);
  tail.write(imei, 4, 'latin1');
  tail.write(imsi, 4 + imei.length, 'latin1');
  return tail;
}

const BASE_KEY_LABEL = Buffer.from('base key', 'latin1');

/**
 * Proof that a terminal holds the base key: 16 bytes in either suite.
 *
 * @param serial 16 bytes, padded
 * @param timestamp Unix seconds, the one under the frame's digest
 */
export function baseKeyDigest(
  suite: SignedSuite,
  serial: Buffer,
  timestamp: number,
  baseKey: Buffer,
): Buffer {
  const time = Buffer.allocUnsafe(4);
  time.writeUInt32BE(timestamp, 0);
  if (suite === MD5) return md5(Buffer.concat([BASE_KEY_LABEL, serial, time, baseKey]));
  return createHmac('sha256', baseKey)
    .update(BASE_KEY_LABEL)
    .update(serial)
    .update(time)
    .digest()
    .subarray(0, 16);
}

function md5(bytes: Buffer): Buffer {
  return hash('md5', bytes, 'buffer');
}
