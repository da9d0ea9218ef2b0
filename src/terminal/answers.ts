/**
 * What a device takes for an answer to what it asked.
 *
 * Signed answers are believed once suite, digest and REQUEST_DIGEST fit the request. Unsigned ones only ever mean
 * "try later", whatever they name, and only for results that are never signed. All else is refused.
 */
import { equalInConstantTime } from '../crypto/constantTime';
import { frameDigest } from '../crypto/digest';
import { unwrapKey } from '../crypto/keyWrap';
import { commandRow } from '../protocol/commands';
import { decode, type Message } from '../protocol/decode';
import { faultText, isFault } from '../protocol/faults';
import { RESPONSE_BIT, VERSION_4_0, type ReadHeader } from '../protocol/header';
import { resultName, RESULTS, type ResultName } from '../protocol/results';
import { UNSIGNED } from '../protocol/suites';
import type { Fields } from '../protocol/tags';
import type { Asked } from './requests';

/** A frame as it came. */
export interface Arrival {
  readonly header: ReadHeader;
  readonly bytes: Buffer;
  /** Milliseconds since the request left, by a clock that nobody sets. */
  readonly elapsed: number;
  /** The machine's clock, Unix milliseconds. */
  readonly at: number;
}

/** Why a frame is not taken for an answer. */
export const REFUSALS = {
  undecodable: 'it is malformed',
  'other-request': 'its command, sequence or serial is not that of the request',
  'other-suite': 'it is not in the digest suite of its request',
  'signature-missing': 'it is unsigned, and its result may only come signed',
  'signature-odd': 'it is signed, and its result never is',
  'wrong-digest': 'its digest is wrong: not this gateway, or another downlink password',
  'other-request-digest': 'it answers another request (REQUEST_DIGEST)',
  'key-missing': 'it brings no session key though one was asked for',
  'key-unreadable': 'its session key does not open under the base key',
  'other-session': 'it names another session',
  'not-asked': 'nothing was asked that it could answer',
  'values-missing': 'it does not bring the values that its CHANGE_TARGETS names',
  'values-unreadable': 'its new values do not open under the base key',
  'false-platform': 'it does not show the base key: this is not the platform',
  'no-session': 'no session stands that it could belong to',
} as const;

export type RefusalName = keyof typeof REFUSALS;

export interface Refused {
  readonly kind: 'refused';
  readonly reason: RefusalName;
  readonly text: string;
}

export interface SignedAnswer {
  readonly kind: 'signed';
  readonly result: ResultName;
  readonly fields: Readonly<Fields>;
  /** The downlink password that it is signed under. */
  readonly downlinkPassword: Buffer;
  /** Seconds between the machine's clock and the gateway's; absent where the answer came too late to tell. */
  readonly clockOffset: number | undefined;
  /** 16 or 32 bytes, where one was asked for and the result is OK. */
  readonly sessionKey: Buffer | undefined;
}

export interface UnsignedAnswer {
  readonly kind: 'unsigned';
  /** A hint for people, never a reason to change anything. */
  readonly result: ResultName;
  /** Milliseconds. */
  readonly retryAfter: number | undefined;
}

export type Answer = SignedAnswer | UnsignedAnswer | Refused;

export const LONGEST_RETRY_MS = 15 * 60 * 1000;
/** An answer held back for longer than this could set the clock to the past. */
export const CLOCK_ANSWER_WITHIN_MS = 30_000;

export function refuse(reason: RefusalName, detail?: string): Refused {
  const text = detail === undefined ? REFUSALS[reason] : `${REFUSALS[reason]}: ${detail}`;
  return { kind: 'refused', reason, text };
}

/** @param retryAfter milliseconds as they came; a year of waiting would be a lockout by anyone on the path */
export function cappedRetry(retryAfter: number | undefined): number | undefined {
  return retryAfter === undefined ? undefined : Math.min(retryAfter, LONGEST_RETRY_MS);
}

export function judgeAnswer(asked: Asked, arrival: Arrival): Answer {
  if (!echoes(asked, arrival.header)) return refuse('other-request');
  const message = decode(arrival.header, arrival.bytes);
  if (isFault(message)) return refuse('undecodable', faultText(message));
  const result = resultName(arrival.header.result);
  if (result === undefined) return refuse('undecodable', `result ${arrival.header.result} is not known`);
  return arrival.header.suite === UNSIGNED
    ? judgeUnsigned(result, message)
    : judgeSigned(asked, arrival, result, message);
}

function echoes(asked: Asked, header: ReadHeader): boolean {
  return (
    header.version === VERSION_4_0 &&
    header.command === (commandRow(asked.command).code | RESPONSE_BIT) &&
    header.sequence === asked.sequence &&
    header.serial.equals(asked.serial)
  );
}

function judgeUnsigned(result: ResultName, message: Message): Answer {
  if (RESULTS[result].signed) return refuse('signature-missing', result);
  return { kind: 'unsigned', result, retryAfter: cappedRetry(message.fields.retryAfter) };
}

function judgeSigned(asked: Asked, arrival: Arrival, result: ResultName, message: Message): Answer {
  const { fields } = message;
  if (message.header.suite !== asked.suite) return refuse('other-suite');
  if (!RESULTS[result].signed || fields.timestamp === undefined) return refuse('signature-odd', result);
  const password = signedUnder(asked, message, fields.timestamp);
  if (password === undefined) return refuse('wrong-digest');
  if (!equalInConstantTime(fields.requestDigest ?? NOTHING, asked.digest)) {
    return refuse('other-request-digest');
  }
  const key = result === 'OK' ? openSessionKey(asked, fields) : undefined;
  if (key !== undefined && !Buffer.isBuffer(key)) return key;
  return {
    kind: 'signed',
    result,
    fields,
    downlinkPassword: password,
    clockOffset: clockOffset(fields.timestamp, arrival),
    sessionKey: key,
  };
}

const NOTHING = Buffer.alloc(0);

function signedUnder(asked: Asked, message: Message, timestamp: number): Buffer | undefined {
  const { imei, imsi, suite } = asked;
  return asked.downlinkPasswords.find((password) => {
    const right = frameDigest(suite, message.covered, { timestamp, imei, imsi, password });
    return equalInConstantTime(right, message.digest ?? NOTHING);
  });
}

function openSessionKey(
  { baseKey, owedSessionKey }: Asked,
  { sessionKey }: Readonly<Fields>,
): Buffer | Refused | undefined {
  if (baseKey === undefined || !owedSessionKey) return undefined;
  if (sessionKey === undefined) return refuse('key-missing');
  const key = unwrapKey(baseKey, sessionKey);
  return key?.length === baseKey.length ? key : refuse('key-unreadable');
}

function clockOffset(timestamp: number, { elapsed, at }: Arrival): number | undefined {
  return elapsed > CLOCK_ANSWER_WITHIN_MS ? undefined : timestamp - Math.floor(at / 1000);
}

export function isOk(answer: Answer): answer is SignedAnswer {
  return answer.kind === 'signed' && answer.result === 'OK';
}
