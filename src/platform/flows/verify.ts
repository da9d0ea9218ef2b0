/** Whether a frame is authentic: made by who knows the uplink password, for an acceptable time. */
import { equalInConstantTime } from '../../crypto/constantTime';
import { baseKeyDigest, frameDigest } from '../../crypto/digest';
import { isBaseKeySize } from '../../crypto/keyWrap';
import type { Decoded } from '../../protocol/decode';
import { isSignedSuite } from '../../protocol/suites';
import type { TerminalRecord } from '../model';

export interface Authentic {
  /** Unix seconds under the digest. */
  readonly timestamp: number;
  readonly explicit: boolean;
  /** Those under the digest: claimed by the frame, or stored. */
  readonly imei: string;
  readonly imsi: string;
  /** Made under the pending uplink password. */
  readonly pending: boolean;
}

/** A base key whose digest a frame has shown. */
export interface ProvenKey {
  readonly key: Buffer;
  readonly pending: boolean;
}

const STEP = 60;

/**
 * Checks a frame's digest under the current uplink password, then under the pending one. A wrong one costs as much
 * as any other wrong one of its kind: every timestamp that could have been meant is tried under two passwords, for
 * a decoy as for a known terminal.
 *
 * @param now milliseconds since the epoch
 * @param pending the pending uplink password, where this frame may be made under it
 */
export function verifyDigest(
  message: Decoded,
  record: TerminalRecord,
  now: number,
  pending?: Buffer,
): Authentic | undefined {
  const { suite } = message.header;
  if (!isSignedSuite(suite) || message.digest === undefined) return undefined;
  const imei = message.fields.imei ?? record.imei;
  const imsi = message.fields.imsi ?? record.imsi;
  const explicit = message.fields.timestamp !== undefined;
  const candidates = timestamps(message.fields.timestamp, now);
  for (const password of [record.uplinkPassword, pending ?? record.uplinkPassword]) {
    for (const timestamp of candidates) {
      const digest = frameDigest(suite, message.covered, { timestamp, imei, imsi, password });
      if (!equalInConstantTime(digest, message.digest)) continue;
      return { timestamp, explicit, imei, imsi, pending: password !== record.uplinkPassword };
    }
  }
  return undefined;
}

/** The explicit one, or the receiver's current minute, the one before and the one after, in this order. */
function timestamps(explicit: number | undefined, now: number): number[] {
  if (explicit !== undefined) return [explicit];
  const current = Math.floor(now / 1000 / STEP) * STEP;
  return [current, current - STEP, current + STEP];
}

/** Whether an explicit timestamp lies within the window. Implicit ones were found within theirs. */
export function isTimely(authentic: Authentic, now: number, window: number): boolean {
  return !authentic.explicit || Math.abs(Math.floor(now / 1000) - authentic.timestamp) <= window;
}

/** Says by how much a terminal's clock is off, and to which side. */
export function clockDetail(timestamp: number, now: number): string {
  const off = timestamp - Math.floor(now / 1000);
  return `clock-${off < 0 ? 'behind' : 'ahead'}-by-${Math.abs(off)}s`;
}

/**
 * The base key whose digest the message shows, or undefined: wrong, none stored, or of a size not served here.
 *
 * @param pending the pending base key, where this frame may show it
 */
export function provenBaseKey(
  message: Decoded,
  record: TerminalRecord,
  authentic: Authentic,
  pending?: Buffer,
): ProvenKey | undefined {
  const { suite, serial } = message.header;
  const shown = message.fields.baseKeyDigest;
  if (shown === undefined || !isSignedSuite(suite)) return undefined;
  for (const key of [record.baseKey, pending]) {
    if (key === undefined || !isBaseKeySize(key.length)) continue;
    const right = baseKeyDigest(suite, serial, authentic.timestamp, key);
    if (equalInConstantTime(right, shown)) return { key, pending: key === pending };
  }
  return undefined;
}
