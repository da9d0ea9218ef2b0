/** Frames of WMMP 3.0 as a device makes them: state in, frame out (docs/wmmp.md, "Frame" and "Commands"). */
import { isWmmpBaseKeySize, wmmpBaseKeyDigest, wmmpDigest } from '../../crypto/wmmp';
import type { Sign } from '../../protocol/encode';
import { RESPONSE_BIT, serialBytes } from '../../protocol/header';
import { SECURITY, WMMP_COMMANDS, type WmmpCommandName } from '../../protocol/wmmp/commands';
import { encodeWmmp } from '../../protocol/wmmp/encode';
import { StateError, type DeviceState } from '../state';
import type { WmmpSession } from './session';

/** What this device speaks. */
export const VERSION_3_0 = 0x0300;

/** A request, with what it takes to know its answer. */
export interface WmmpAsked {
  readonly command: WmmpCommandName;
  readonly frame: Buffer;
  readonly sequence: number;
  /** 16 bytes, padded. */
  readonly serial: Buffer;
}

export interface LoginAsked extends WmmpAsked {
  /** As it logs in: its passwords are those of the session. */
  readonly device: DeviceState;
  /** The key that 0xE03A was made with: the answer owes a session key under it. */
  readonly baseKey: Buffer | undefined;
}

export interface WmmpWishes {
  readonly sessionKey: boolean;
  /** Up to 8 bytes of ASCII. */
  readonly software: string;
}

export const SOFTWARE_SIZE = 8;
/** [?] Of the settings that a terminal has synchronised: this device has none. */
const SETTINGS_CRC = Buffer.alloc(4);
/** Under the digest of a LOGIN. */
export const LOGIN_TIMESTAMP = 0;

export function loginRequest(device: DeviceState, sequence: number, wishes: WmmpWishes): LoginAsked {
  const baseKey = wishes.sessionKey ? usableBaseKey(device) : undefined;
  const { code, up } = WMMP_COMMANDS.LOGIN;
  const serial = serialBytes(device.serial);
  const security = baseKey ? SECURITY.loginForSessionKey : SECURITY.login;
  const softwareVersion = Buffer.concat([Buffer.from(wishes.software, 'latin1')], SOFTWARE_SIZE);
  const outgoing = {
    header: { command: code, sequence, version: VERSION_3_0, suite: security, serial },
    body: up,
    fixed: { softwareVersion, settingsCrc: SETTINGS_CRC },
    tlvs: baseKey ? { baseKeyDigest: wmmpBaseKeyDigest(baseKey) } : {},
  };
  const frame = encodeWmmp(outgoing, signAs(device, LOGIN_TIMESTAMP));
  return { command: 'LOGIN', frame, sequence, serial, device, baseKey };
}

/** Nothing but its header. */
export function heartbeatRequest(device: DeviceState, sequence: number): WmmpAsked {
  const { code, up } = WMMP_COMMANDS.HEARTBEAT;
  const serial = serialBytes(device.serial);
  const header = { command: code, sequence, version: VERSION_3_0, suite: SECURITY.none, serial };
  return { command: 'HEARTBEAT', frame: encodeWmmp({ header, body: up, fixed: {} }), sequence, serial };
}

export function logoutRequest(
  { device, timestamp }: WmmpSession,
  sequence: number,
  reason: number,
): WmmpAsked {
  const { code, up } = WMMP_COMMANDS.LOGOUT;
  const serial = serialBytes(device.serial);
  const header = { command: code, sequence, version: VERSION_3_0, suite: SECURITY.digest, serial };
  const frame = encodeWmmp({ header, body: up, fixed: { reason } }, signAs(device, timestamp));
  return { command: 'LOGOUT', frame, sequence, serial };
}

/** The answer to a SECURITY_CONFIG. @param badTags those that were not taken */
export function configAnswer(
  { device, timestamp }: WmmpSession,
  sequence: number,
  result: number,
  badTags: readonly number[],
): Buffer {
  const { code, up } = WMMP_COMMANDS.SECURITY_CONFIG;
  const command = code | RESPONSE_BIT;
  const serial = serialBytes(device.serial);
  const header = { command, sequence, version: VERSION_3_0, suite: SECURITY.digest, serial };
  const rest = Buffer.alloc(badTags.length * 2);
  for (const [i, tag] of badTags.entries()) rest.writeUInt16BE(tag, i * 2);
  return encodeWmmp({ header, body: up, fixed: { result }, rest }, signAs(device, timestamp));
}

function signAs({ imei, imsi, uplinkPassword: password }: DeviceState, timestamp: number): Sign {
  return (covered) => wmmpDigest(covered, { timestamp, imei, imsi, password });
}

function usableBaseKey({ baseKey }: DeviceState): Buffer {
  if (baseKey === undefined) throw new StateError('a session key needs a base key, and this device has none');
  if (!isWmmpBaseKeySize(baseKey.length)) {
    throw new StateError(`a session key of WMMP 3.0 needs a base key of 24 bytes, not ${baseKey.length}`);
  }
  return baseKey;
}
