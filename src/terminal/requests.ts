/** Requests of version 4.0 as a device makes them: state and time in, signed frame out. */
import { baseKeyDigest, frameDigest } from '../crypto/digest';
import { isBaseKeySize } from '../crypto/keyWrap';
import { commandRow, type CommandName } from '../protocol/commands';
import { encodeSigned } from '../protocol/encode';
import { serialBytes, VERSION_4_0 } from '../protocol/header';
import { SUITES, type SignedSuite } from '../protocol/suites';
import type { Fields } from '../protocol/tags';
import { downlinkCandidates } from './secrets';
import { StateError, type DeviceState } from './state';

/** When and as which one a request is made. */
export interface Moment {
  /** 32 bits, never used before by this device. */
  readonly sequence: number;
  /** Unix seconds, as the device believes. */
  readonly time: number;
  /** Whether the frame carries its timestamp; otherwise the gateway's clock stands in. */
  readonly explicit: boolean;
}

/** A request, with all that it takes to judge its answer. */
export interface Asked {
  readonly command: CommandName;
  readonly frame: Buffer;
  readonly sequence: number;
  readonly suite: SignedSuite;
  /** 16 bytes, padded. */
  readonly serial: Buffer;
  readonly digest: Buffer;
  readonly imei: string;
  readonly imsi: string;
  /** Passwords that the answer may be signed under: two while a change is pending. */
  readonly downlinkPasswords: readonly Buffer[];
  readonly uplinkPassword: Buffer;
  /** The key that BASE_KEY_DIGEST was made with. */
  readonly baseKey: Buffer | undefined;
  readonly owedSessionKey: boolean;
}

export interface LoginWishes {
  readonly sessionKey: boolean;
  /** Whether the frame carries IMEI and IMSI; their absence says nothing about what is signed. */
  readonly identity: boolean;
  /** 1 to 64 bytes of printable ASCII. */
  readonly firmware: string | undefined;
  /** Two-way login. Default: no. */
  readonly mutual?: boolean;
}

export function loginRequest(device: DeviceState, moment: Moment, wishes: LoginWishes): Asked {
  const fields: Fields = {};
  if (wishes.identity) Object.assign(fields, { imei: device.imei, imsi: device.imsi });
  if (wishes.firmware !== undefined) fields.firmware = wishes.firmware;
  if (wishes.sessionKey) fields.sessionKeyRequest = true;
  return ask(device, moment, 'LOGIN', fields, { key: wishes.sessionKey, owed: wishes.sessionKey });
}

/** What AUTH_PROOF shows besides a login. */
export interface Proof {
  /** 1 to 64 bytes. */
  readonly hardwareId: Buffer;
  readonly serverNonce: Buffer;
  readonly thirdCode: Buffer;
  readonly credentialPacket: Buffer;
}

/** Always with timestamp and identity. */
export function proofRequest(device: DeviceState, moment: Moment, wishes: LoginWishes, proof: Proof): Asked {
  const fields: Fields = { imei: device.imei, imsi: device.imsi, ...proof };
  if (wishes.firmware !== undefined) fields.firmware = wishes.firmware;
  if (wishes.sessionKey) fields.sessionKeyRequest = true;
  const use = { key: wishes.sessionKey, owed: wishes.sessionKey };
  return ask(device, { ...moment, explicit: true }, 'AUTH_PROOF', fields, use);
}

export function heartbeatRequest(device: DeviceState, moment: Moment): Asked {
  return ask(device, moment, 'HEARTBEAT', {}, NO_KEY);
}

export function logoutRequest(device: DeviceState, moment: Moment): Asked {
  return ask(device, moment, 'LOGOUT', {}, NO_KEY);
}

/**
 * @param targets bit mask
 * @param delivery CHANGE_DELIVERY; undefined: the platform decides
 */
export function changeRequest(
  device: DeviceState,
  moment: Moment,
  targets: number,
  delivery: number | undefined,
): Asked {
  const fields: Fields = { changeTargets: targets };
  if (delivery !== undefined) fields.changeDelivery = delivery;
  const key = device.baseKey !== undefined && isBaseKeySize(device.baseKey.length);
  return ask(device, moment, 'CREDENTIAL_CHANGE', fields, { key, owed: false });
}

/** @param showKey whether the change has a new base key */
export function confirmRequest(device: DeviceState, moment: Moment, id: number, showKey: boolean): Asked {
  return ask(device, moment, 'CREDENTIAL_CONFIRM', { changeId: id }, { key: showKey, owed: false });
}

/** Whether a request shows the base key, and whether its answer owes a session key. */
interface KeyUse {
  readonly key: boolean;
  readonly owed: boolean;
}

const NO_KEY: KeyUse = { key: false, owed: false };

function ask(device: DeviceState, moment: Moment, command: CommandName, fields: Fields, use: KeyUse): Asked {
  const serial = serialBytes(device.serial);
  const timestamp = timestampUnderDigest(moment);
  const { suite, imei, imsi } = device;
  const baseKey = use.key ? usableBaseKey(device) : undefined;
  if (baseKey) fields.baseKeyDigest = baseKeyDigest(suite, serial, timestamp, baseKey);
  if (moment.explicit) fields.timestamp = timestamp;
  const { code, request } = commandRow(command);
  const header = { command: code, sequence: moment.sequence, version: VERSION_4_0, result: 0, serial };
  const signing = { timestamp, imei, imsi, password: device.uplinkPassword };
  const frame = encodeSigned({ header, fields, shape: request }, suite, (covered) =>
    frameDigest(suite, covered, signing),
  );
  const digest = frame.subarray(frame.length - SUITES[suite].digestSize);
  return {
    command,
    frame,
    sequence: moment.sequence,
    suite,
    serial,
    digest,
    imei,
    imsi,
    downlinkPasswords: downlinkCandidates(device),
    uplinkPassword: device.uplinkPassword,
    baseKey,
    owedSessionKey: use.owed,
  };
}

/** Seconds to which an implicit timestamp is floored on both sides. */
export const IMPLICIT_STEP = 60;

function timestampUnderDigest({ time, explicit }: Moment): number {
  return explicit ? time : time - (time % IMPLICIT_STEP);
}

function usableBaseKey({ baseKey }: DeviceState): Buffer {
  if (baseKey === undefined) throw new StateError('a session key needs a base key, and this device has none');
  if (!isBaseKeySize(baseKey.length)) {
    throw new StateError(`a session key needs a base key of 16 or 32 bytes, not ${baseKey.length}`);
  }
  return baseKey;
}
