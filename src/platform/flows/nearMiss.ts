/**
 * What a frame with a wrong digest was nearly: the usual mistakes of firmware and of provisioning, each with a name.
 * For the operator's eyes only, and far from the login's path: one search tries some hundred digests, a few at a time.
 */
import { equalInConstantTime } from '../../crypto/constantTime';
import { frameDigest, type DigestContext } from '../../crypto/digest';
import type { Decoded } from '../../protocol/decode';
import { HEADER_SIZE, isWmmp } from '../../protocol/header';
import { isSignedSuite, MD5 } from '../../protocol/suites';
import { TAGS } from '../../protocol/tags';
import type { TerminalRecord } from '../model';

/** A frame whose digest is wrong, and what its terminal has. */
export interface Suspect {
  readonly message: Decoded;
  readonly record: TerminalRecord;
  /** The uplink password before the current one, where it is still known. */
  readonly replacedPassword: Buffer | undefined;
  /** Milliseconds since the epoch at which the frame came. */
  readonly now: number;
}

/** What the digest would have been made over. What a variant leaves out is as it should be. */
interface Covered extends DigestContext {
  readonly covered: Buffer;
}
type Variant = Partial<Covered>;
type Mistake = (right: Covered, suspect: Suspect) => readonly (Variant | undefined)[];

const MINUTE = 60;
const HOUR = 3600;
/** Offsets of the world's local times from UTC, in hours. */
const ZONES = Array.from({ length: 27 }, (_, n) => n - 12);
/** Sizes of the arrays that firmware keeps passwords in. */
const FIELD_SIZES = [8, 16, 32, 64];
const TLV_HEADER_SIZE = 4;
/** Digests that are tried at a time: a tenth of a millisecond, so that heartbeats do not wait for a search. */
const SLICE = 32;

/** In the order in which they are tried: the likelier ones first. Each name is a row of m2m.reason. */
const MISTAKES: Readonly<Record<string, Mistake>> = {
  'replaced-password': (_, { replacedPassword }) => [passwordOf(replacedPassword)],
  'downlink-password': (_, { record }) => [passwordOf(record.downlinkPassword)],
  'pending-password': (_, { record }) => [passwordOf(record.changes.pending?.uplinkPassword)],
  'base-key-as-password': (_, { record }) => [passwordOf(record.baseKey)],
  'password-padded': ({ password }) =>
    FIELD_SIZES.filter((size) => size > password.length).map((size) => ({
      password: Buffer.concat([password], size),
    })),
  'password-line-end': ({ password }) => lineEnds(password).map(passwordOf),
  'password-cut-off': ({ password }) =>
    FIELD_SIZES.flatMap((size) => [size, size - 1])
      .filter((size) => size < password.length)
      .map((size) => ({ password: password.subarray(0, size) })),
  'imei-with-nul': ({ imei, imsi }) => [
    { imei: `${imei}\0` },
    { imsi: `${imsi}\0` },
    { imei: `${imei}\0`, imsi: `${imsi}\0` },
    { imei: imei.padEnd(16, '\0'), imsi: imsi.padEnd(16, '\0') },
  ],
  'imei-without-nul': ({ imei, imsi }) => {
    const bare = { imei: withoutNuls(imei), imsi: withoutNuls(imsi) };
    return imei === bare.imei ? [] : [{ imei: bare.imei }, { imsi: bare.imsi }, bare];
  },
  'imei-without-check-digit': ({ imei }) => [{ imei: imei.slice(0, 14) }, { imei: `${imei.slice(0, 14)}0` }],
  'imei-and-imsi-swapped': ({ imei, imsi }) => [{ imei: imsi, imsi: imei }],
  'imei-byte-order': ({ imei, imsi }) => [
    { imei: reversed(imei) },
    { imsi: reversed(imsi) },
    { imei: reversed(imei), imsi: reversed(imsi) },
    { imei: nibblesSwapped(imei), imsi: nibblesSwapped(imsi) },
  ],
  'imei-or-imsi-left-out': () => [{ imei: '' }, { imsi: '' }, { imei: '', imsi: '' }],
  'timestamp-zero': () => [{ timestamp: 0 }],
  'timestamp-not-zero': (_, { message, now }) =>
    isWmmp(message.header.version)
      ? Array.from({ length: 4 * MINUTE }, (_each, n) => ({
          timestamp: Math.floor(now / 1000) - 2 * MINUTE + n,
        }))
      : [],
  'timestamp-byte-order': ({ timestamp }) => [{ timestamp: bytesSwapped(timestamp) }],
  'timestamp-in-minutes': ({ timestamp }) => [{ timestamp: Math.floor(timestamp / MINUTE) }],
  'timestamp-not-rounded': (right, suspect) =>
    implicitly(suspect, () =>
      Array.from({ length: 4 * MINUTE }, (_, n) => ({ timestamp: right.timestamp - 2 * MINUTE + n })),
    ),
  'clock-local-time': (right, suspect) =>
    implicitly(suspect, () =>
      ZONES.flatMap((zone) =>
        [-MINUTE, 0, MINUTE].map((late) => ({ timestamp: right.timestamp + zone * HOUR + late })),
      ),
    ),
  'clock-minutes-off': (right, suspect) =>
    implicitly(suspect, () =>
      Array.from({ length: 121 }, (_, n) => ({ timestamp: right.timestamp + (n - 60) * MINUTE })),
    ),
  'header-left-out': ({ covered }) => [{ covered: covered.subarray(HEADER_SIZE) }],
  'body-left-out': ({ covered }) => [{ covered: covered.subarray(0, HEADER_SIZE) }],
  'length-without-digest': ({ covered }) => [
    { covered: withLength(covered, covered.length) },
    { covered: withLength(covered, 0) },
  ],
  'digest-header-covered': ({ covered }, { message }) => [
    { covered: Buffer.concat([covered, digestHeader(message)]) },
    { covered: Buffer.concat([covered, digestHeader(message), Buffer.alloc(message.digest?.length ?? 0)]) },
  ],
};

/** Names of near misses. */
export const NEAR_MISSES: readonly string[] = Object.keys(MISTAKES);

/** The mistake under which the digest is right, or undefined: it is right under none of them. Yields between slices. */
export function* nearMiss(suspect: Suspect): Generator<undefined, string | undefined> {
  const { message } = suspect;
  const suite = isWmmp(message.header.version) ? MD5 : message.header.suite;
  const shown = message.digest;
  if (!isSignedSuite(suite) || shown === undefined) return undefined;
  const right = isWmmp(message.header.version) ? rightWmmp(suspect) : rightVersion4(suspect);
  let tried = 0;
  for (const [name, variant] of variants(suspect, right)) {
    const made: Covered = { ...right, ...variant };
    if (made.timestamp < 0) continue;
    if (equalInConstantTime(frameDigest(suite, made.covered, made), shown)) return name;
    if (++tried % SLICE === 0) yield;
  }
  return undefined;
}

function* variants(suspect: Suspect, right: Covered): Generator<[name: string, variant: Variant]> {
  const times = timesOf(suspect, right);
  for (const [name, mistake] of Object.entries(MISTAKES)) {
    for (const variant of mistake(right, suspect)) {
      if (variant !== undefined) for (const timed of times(variant)) yield [name, timed];
    }
  }
}

function rightVersion4({ message, record, now }: Suspect): Covered {
  const seconds = Math.floor(now / 1000);
  return {
    covered: message.covered,
    timestamp: message.fields.timestamp ?? seconds - (seconds % MINUTE),
    imei: message.fields.imei ?? record.imei,
    imsi: message.fields.imsi ?? record.imsi,
    password: record.uplinkPassword,
  };
}

/** The digest of a LOGIN of WMMP 3.0 is that of suite 1 over padded fields (docs/wmmp.md, "Digest"). */
function rightWmmp({ message, record }: Suspect): Covered {
  return {
    covered: message.covered,
    timestamp: 0,
    imei: `${record.imei}\0`,
    imsi: record.imsi.padEnd(15, '\0'),
    password: record.uplinkPassword,
  };
}

/** A frame that leaves its time out may mean the minute before or after as well, unless the mistake is in the time. */
function timesOf(suspect: Suspect, { timestamp }: Covered): (variant: Variant) => Variant[] {
  return (variant) =>
    variant.timestamp !== undefined || !leavesTimeOut(suspect)
      ? [variant]
      : [0, -MINUTE, MINUTE].map((off) => ({ ...variant, timestamp: timestamp + off }));
}

function implicitly(suspect: Suspect, variants: () => Variant[]): Variant[] {
  return leavesTimeOut(suspect) ? variants() : [];
}

function leavesTimeOut({ message }: Suspect): boolean {
  return message.fields.timestamp === undefined && !isWmmp(message.header.version);
}

function withoutNuls(field: string): string {
  return field.replace(/\0+$/, '');
}

function passwordOf(password: Buffer | undefined): Variant | undefined {
  return password === undefined || password.length === 0 ? undefined : { password };
}

/** A line end that came with the password into the terminal, or one that only the platform has. */
function lineEnds(password: Buffer): Buffer[] {
  const text = password.toString('latin1');
  const stripped = text.replace(/[\r\n\0 ]+$/, '');
  const shorter = stripped === text ? [] : [stripped];
  return [...['\n', '\r\n', '\r', '\0', ' '].map((end) => text + end), ...shorter].map((each) =>
    Buffer.from(each, 'latin1'),
  );
}

function reversed(digits: string): string {
  return [...digits].reverse().join('');
}

/** As in the BCD of 3GPP TS 24.008: each two digits change places. */
function nibblesSwapped(digits: string): string {
  return digits.replace(/(.)(.)/g, '$2$1');
}

function bytesSwapped(value: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes.readUInt32LE();
}

function withLength(covered: Buffer, length: number): Buffer {
  const copy = Buffer.from(covered);
  copy.writeUInt16BE(length, 0);
  return copy;
}

function digestHeader({ digest }: Decoded): Buffer {
  const header = Buffer.alloc(TLV_HEADER_SIZE);
  header.writeUInt16BE(TAGS.digest.tag, 0);
  header.writeUInt16BE(digest?.length ?? 0, 2);
  return header;
}
