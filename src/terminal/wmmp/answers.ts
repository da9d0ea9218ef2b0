/**
 * What a device takes for an answer in WMMP 3.0. A LOGIN's answer is believed once its digest is right under the
 * downlink password and the timestamp that it carries; all others are a header without anything to believe.
 */
import { equalInConstantTime } from '../../crypto/constantTime';
import { wmmpDecrypt, wmmpDigest } from '../../crypto/wmmp';
import { faultText, isFault } from '../../protocol/faults';
import { RESPONSE_BIT, type ReadHeader } from '../../protocol/header';
import { WMMP_COMMANDS } from '../../protocol/wmmp/commands';
import { decodeWmmp, type WmmpMessage } from '../../protocol/wmmp/decode';
import { refuse, type Arrival, type Refused } from '../answers';
import type { DeviceState } from '../state';
import { readPlain } from './plain';
import type { LoginAsked, WmmpAsked } from './requests';
import type { WmmpSession } from './session';

/** The gateway says no, which anyone on the path could. */
export interface Denied {
  readonly kind: 'denied';
  readonly result: number;
}

export type LoginAnswer = WmmpSession | Denied | Refused;

/** An answer of which the header is all that matters. */
export interface Answered {
  readonly kind: 'answered';
}

/** Results of a LOGIN that stacks take as OK. */
const TAKEN_AS_OK: readonly (number | undefined)[] = [0, 1, 8];

export function isTakenAsOk(result: number | undefined): boolean {
  return TAKEN_AS_OK.includes(result);
}

export function judgeLogin(asked: LoginAsked, arrival: Arrival): LoginAnswer {
  const message = read(asked, arrival);
  if ('kind' in message) return message;
  const { result, timestamp } = message.fixed;
  if (result === undefined || timestamp === undefined) return refuse('undecodable');
  if (!isTakenAsOk(result)) return { kind: 'denied', result };
  const { device, baseKey } = asked;
  const wrong = wrongDigest(message, device, timestamp);
  if (wrong !== undefined) return wrong;
  if (baseKey === undefined) return { kind: 'session', device, timestamp, key: undefined };
  const key = openSessionKey(baseKey, message.tlvs.sessionKeyCiphertext);
  return Buffer.isBuffer(key) ? { kind: 'session', device, timestamp, key } : key;
}

export function judgeAnswered(asked: WmmpAsked, arrival: Arrival): Answered | Refused {
  const message = read(asked, arrival);
  return 'kind' in message ? message : { kind: 'answered' };
}

/** Why a frame of the gateway is not authentic; undefined: it is. @param timestamp of the LOGIN's answer */
export function wrongDigest(
  { digest, covered }: WmmpMessage,
  { imei, imsi, downlinkPassword: password }: DeviceState,
  timestamp: number,
): Refused | undefined {
  if (digest === undefined) return refuse('signature-missing');
  const right = wmmpDigest(covered, { timestamp, imei, imsi, password });
  return equalInConstantTime(right, digest) ? undefined : refuse('wrong-digest');
}

function read(asked: WmmpAsked, { header, bytes }: Arrival): WmmpMessage | Refused {
  if (!echoes(asked, header)) return refuse('other-request');
  const message = decodeWmmp(header, bytes, 'down');
  return isFault(message) ? refuse('undecodable', faultText(message)) : message;
}

function echoes(asked: WmmpAsked, header: ReadHeader): boolean {
  return (
    header.command === (WMMP_COMMANDS[asked.command].code | RESPONSE_BIT) &&
    header.sequence === asked.sequence &&
    header.serial.equals(asked.serial)
  );
}

function openSessionKey(baseKey: Buffer, ciphertext: Buffer | undefined): Buffer | Refused {
  if (ciphertext === undefined) return refuse('key-missing');
  const plain = wmmpDecrypt(baseKey, ciphertext);
  const { values, bad } = readPlain(plain ?? Buffer.alloc(0), 0, ['sessionKey', 'sessionKeyExpiry']);
  const { sessionKey, sessionKeyExpiry } = values;
  const isWhole = bad.length === 0 && sessionKeyExpiry !== undefined;
  return isWhole && sessionKey !== undefined ? sessionKey : refuse('key-unreadable');
}
