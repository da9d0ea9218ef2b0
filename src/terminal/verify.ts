/** Whether a frame's digests are right, for someone who holds the terminal's secrets and looks at a capture. */
import { baseKeyDigest, frameDigest } from '../crypto/digest';
import { equalInConstantTime } from '../crypto/constantTime';
import type { Message } from '../protocol/decode';
import { serialText } from '../protocol/header';
import { isSignedSuite } from '../protocol/suites';
import type { Direction } from './frameTable';
import { IMPLICIT_STEP } from './requests';

/** What is known of the terminal; the rest is not checked. */
export interface Known {
  /** Undefined: every frame is taken for the terminal's. */
  readonly serial?: string | undefined;
  readonly imei: string | undefined;
  readonly imsi: string | undefined;
  readonly uplinkPassword: Buffer | undefined;
  readonly downlinkPassword: Buffer | undefined;
  readonly baseKey: Buffer | undefined;
  /** Unix seconds under the digest of a frame without TIMESTAMP; undefined: the steps around `around` are tried. */
  readonly timestamp: number | undefined;
  /** Unix seconds: when a frame without TIMESTAMP was on its way. */
  readonly around: number;
}

export type Verdict =
  | {
      readonly verdict: 'good';
      /** Unix seconds. */
      readonly timestamp: number;
      /** Of BASE_KEY_DIGEST; undefined where the frame has none, or no base key is known. */
      readonly baseKey: boolean | undefined;
    }
  | { readonly verdict: 'wrong'; readonly tried: readonly number[] }
  /** `lacks`: whether something that the caller could give is missing. */
  | { readonly verdict: 'unchecked'; readonly why: string; readonly lacks: boolean };

export function verify(message: Message, direction: Direction, known: Known): Verdict {
  const { header, digest, fields, covered } = message;
  if (digest === undefined || !isSignedSuite(header.suite)) return unchecked('the frame is unsigned', false);
  const password = passwordOf(direction, known);
  if (!Buffer.isBuffer(password)) return password;
  const imei = fields.imei ?? known.imei;
  const imsi = fields.imsi ?? known.imsi;
  if (imei === undefined || imsi === undefined) return unchecked('IMEI and IMSI are not given', true);
  const { suite } = header;
  const tried = candidates(fields.timestamp, known);
  const timestamp = tried.find((time) =>
    equalInConstantTime(frameDigest(suite, covered, { timestamp: time, imei, imsi, password }), digest),
  );
  if (timestamp === undefined) return { verdict: 'wrong', tried };
  return { verdict: 'good', timestamp, baseKey: judgeBaseKey(message, timestamp, known.baseKey) };
}

/** Undefined where a frame may be the terminal's. */
export function ofAnother(serial: Buffer, known: Known): Verdict | undefined {
  if (known.serial === undefined) return undefined;
  const own = serialText(serial) === known.serial;
  return own ? undefined : unchecked(`the serial is not ${known.serial}`, false);
}

/** What frames of a direction are made under, or that it is not known. */
export function passwordOf(direction: Direction, known: Known): Buffer | Verdict {
  const password = direction === 'up' ? known.uplinkPassword : known.downlinkPassword;
  return password ?? unchecked(`${direction === 'up' ? 'uplink' : 'downlink'} password is not given`, true);
}

export function unchecked(why: string, lacks: boolean): Verdict {
  return { verdict: 'unchecked', why, lacks };
}

/** The current step, then the one before, then the one after, as a gateway tries them. */
function candidates(own: number | undefined, { timestamp, around }: Known): number[] {
  const fixed = own ?? timestamp;
  if (fixed !== undefined) return [fixed];
  const step = around - (around % IMPLICIT_STEP);
  return [step, step - IMPLICIT_STEP, step + IMPLICIT_STEP].filter((time) => time >= 0);
}

function judgeBaseKey({ header, fields }: Message, timestamp: number, key?: Buffer): boolean | undefined {
  if (key === undefined || fields.baseKeyDigest === undefined || !isSignedSuite(header.suite))
    return undefined;
  const right = baseKeyDigest(header.suite, header.serial, timestamp, key);
  return equalInConstantTime(right, fields.baseKeyDigest);
}
