/** The verification codes of two-way login (docs/protocol.md, "Two-way login"). */
import { hmacSha256 } from './hmac';
import { unwrapKey, wrapKey } from './keyWrap';

const MAC_LABEL = Buffer.from('m2m/1 mutual mac', 'latin1');
const ENC_LABEL = Buffer.from('m2m/1 mutual enc', 'latin1');
const FIRST_LABEL = Buffer.from('first', 'latin1');

/** What a code is made of besides the base key. */
export interface CodeContext {
  /** 16 bytes, padded. */
  readonly serial: Buffer;
  /** 16 bytes. */
  readonly clientNonce: Buffer;
  /** 16 bytes. */
  readonly serverNonce: Buffer;
  /** Unix seconds, of the challenge's answer. */
  readonly timestamp: number;
}

/** First code, and second where the terminal makes it itself: 32 bytes. */
export function firstCode(baseKey: Buffer, context: CodeContext): Buffer {
  const time = Buffer.allocUnsafe(4);
  time.writeUInt32BE(context.timestamp);
  const { serial, clientNonce, serverNonce } = context;
  return hmacSha256(hmacSha256(baseKey, MAC_LABEL), FIRST_LABEL, serial, clientNonce, serverNonce, time);
}

/** The first code wrapped under what only a holder of the base key can derive: 40 bytes. */
export function thirdCode(baseKey: Buffer, first: Buffer): Buffer {
  return wrapKey(wrappingKey(baseKey), first);
}

/** The third code opened; undefined where it was not made under this base key. */
export function fourthCode(baseKey: Buffer, third: Buffer): Buffer | undefined {
  return unwrapKey(wrappingKey(baseKey), third);
}

function wrappingKey(baseKey: Buffer): Buffer {
  return hmacSha256(baseKey, ENC_LABEL).subarray(0, baseKey.length);
}
