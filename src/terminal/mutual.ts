/** Two-way login, the device's side: it makes sure of the platform before it shows anything of itself. */
import { equalInConstantTime } from '../crypto/constantTime';
import { firstCode, thirdCode } from '../crypto/mutual';
import { commandRow } from '../protocol/commands';
import { decode } from '../protocol/decode';
import { encodeUnsigned } from '../protocol/encode';
import { faultText, isFault } from '../protocol/faults';
import { RESPONSE_BIT, serialBytes, VERSION_4_0 } from '../protocol/header';
import { resultName } from '../protocol/results';
import { UNSIGNED } from '../protocol/suites';
import { cappedRetry, refuse, type Arrival, type Refused, type UnsignedAnswer } from './answers';
import type { Moment } from './requests';
import { baseKeyCandidates } from './secrets';
import type { DeviceState } from './state';

export interface Challenge {
  readonly frame: Buffer;
  readonly sequence: number;
  /** 16 bytes, padded. */
  readonly serial: Buffer;
  /** 16 bytes, random. */
  readonly clientNonce: Buffer;
}

/** The platform has shown that it holds the base key. */
export interface Trusted {
  readonly kind: 'trusted';
  readonly serverNonce: Buffer;
  /** 40 bytes. */
  readonly thirdCode: Buffer;
  /** Unix seconds, as the platform has it. */
  readonly timestamp: number;
}

export function challengeRequest(device: DeviceState, moment: Moment, clientNonce: Buffer): Challenge {
  const { code, request } = commandRow('AUTH_CHALLENGE');
  const serial = serialBytes(device.serial);
  const header = { command: code, sequence: moment.sequence, version: VERSION_4_0, result: 0, serial };
  const frame = encodeUnsigned({ header, fields: { clientNonce }, shape: request });
  return { frame, sequence: moment.sequence, serial, clientNonce };
}

/** Trusted only where FIRST_CODE was made under a base key of this device, for this very nonce. */
export function judgeChallenge(
  device: DeviceState,
  { sequence, serial, clientNonce }: Challenge,
  { header, bytes }: Arrival,
): Trusted | UnsignedAnswer | Refused {
  const echoes = header.command === (commandRow('AUTH_CHALLENGE').code | RESPONSE_BIT);
  if (
    !echoes ||
    header.version !== VERSION_4_0 ||
    header.sequence !== sequence ||
    !header.serial.equals(serial)
  )
    return refuse('other-request');
  if (header.suite !== UNSIGNED) return refuse('signature-odd');
  const message = decode(header, bytes);
  if (isFault(message)) return refuse('undecodable', faultText(message));
  const result = resultName(header.result);
  if (result === undefined) return refuse('undecodable', `result ${header.result} is not known`);
  const { serverNonce, timestamp, firstCode: shown, retryAfter } = message.fields;
  if (result !== 'OK') return { kind: 'unsigned', result, retryAfter: cappedRetry(retryAfter) };
  if (serverNonce === undefined || timestamp === undefined || shown === undefined)
    return refuse('undecodable');
  const context = { serial, clientNonce, serverNonce, timestamp };
  const key = baseKeyCandidates(device).find((one) => equalInConstantTime(firstCode(one, context), shown));
  if (key === undefined) return refuse('false-platform');
  return { kind: 'trusted', serverNonce, timestamp, thirdCode: thirdCode(key, shown) };
}
