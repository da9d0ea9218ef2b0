/** Whether a frame of WMMP 3.0 is authentic (docs/wmmp.md, "Digest"). */
import { equalInConstantTime } from '../../../crypto/constantTime';
import { isWmmpBaseKeySize, wmmpBaseKeyDigest, wmmpDigest } from '../../../crypto/wmmp';
import type { Decoded } from '../../../protocol/decode';
import type { TerminalRecord } from '../../model';
import type { Authentic, ProvenKey } from '../verify';

/** Under the digest of a LOGIN. */
export const LOGIN_TIMESTAMP = 0;

/**
 * Checks a frame's digest under the current uplink password, then under the pending one; a decoy costs the same.
 *
 * @param timestamp Unix seconds, as the LOGIN's answer had them; 0 for LOGIN itself
 * @param pending the pending uplink password, where this frame may be made under it
 */
export function verifyWmmp(
  message: Decoded,
  record: TerminalRecord,
  timestamp: number,
  pending?: Buffer,
): Authentic | undefined {
  const { imei, imsi } = record;
  if (message.digest === undefined) return undefined;
  for (const password of [record.uplinkPassword, pending ?? record.uplinkPassword]) {
    const digest = wmmpDigest(message.covered, { timestamp, imei, imsi, password });
    if (!equalInConstantTime(digest, message.digest)) continue;
    return { timestamp, explicit: false, imei, imsi, pending: password !== record.uplinkPassword };
  }
  return undefined;
}

/** The base key that a LOGIN shows, or undefined: wrong, none stored, or of a size that is not served here. */
export function provenWmmpKey(
  message: Decoded,
  record: TerminalRecord,
  pending?: Buffer,
): ProvenKey | undefined {
  const shown = message.fields.baseKeyDigest;
  if (shown === undefined) return undefined;
  for (const key of [record.baseKey, pending]) {
    if (key === undefined || !isWmmpBaseKeySize(key.length)) continue;
    if (equalInConstantTime(wmmpBaseKeyDigest(key), shown)) return { key, pending: key === pending };
  }
  return undefined;
}
