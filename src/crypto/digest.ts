/** Frame digests and base key digests of both suites (docs/protocol.md, "Digest" and "Commands"). */
import { MD5, type SignedSuite } from '../protocol/suites';
import { digestOf, hmacSha256 } from './hmac';

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
  if (suite === MD5) return digestOf('md5', Buffer.concat([covered, tail, context.password]));
  return hmacSha256(context.password, covered, tail);
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
  if (suite === MD5) return digestOf('md5', Buffer.concat([BASE_KEY_LABEL, serial, time, baseKey]));
  return hmacSha256(baseKey, BASE_KEY_LABEL, serial, time).subarray(0, 16);
}
