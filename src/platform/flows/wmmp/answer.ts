/** From an answer to bytes of WMMP 3.0 (docs/wmmp.md, "Commands"). All stay below 256 bytes: some readers take one byte of the length. */
import { wmmpDigest, wmmpEncrypt } from '../../../crypto/wmmp';
import type { Sign } from '../../../protocol/encode';
import { RESPONSE_BIT, SERIAL_SIZE, serialBytes, type Header } from '../../../protocol/header';
import {
  SECURITY,
  WMMP_COMMANDS,
  WMMP_RESULTS,
  wmmpCommandRow,
  type FixedFields,
} from '../../../protocol/wmmp/commands';
import type { WmmpMessage } from '../../../protocol/wmmp/decode';
import { encodeTlvs, encodeWmmp } from '../../../protocol/wmmp/encode';
import { NEVER, type WmmpTlvs } from '../../../protocol/wmmp/tags';
import type { Answer, PendingChange, Session, Signer, WmmpSession } from '../../model';

const REFUSED: FixedFields = { result: WMMP_RESULTS.failed, timestamp: 0 };

/** Every refusal has the same bytes. */
export function encodeLoginAnswer(header: Header, { result, fields, signer }: Answer): Buffer {
  const body = WMMP_COMMANDS.LOGIN.down;
  if (result !== 'OK' || signer === undefined) {
    return encodeWmmp({ header: answering(header, SECURITY.none), body, fixed: REFUSED });
  }
  const timestamp = fields?.timestamp ?? 0;
  const tlvs: WmmpTlvs = fields?.sessionKey ? { sessionKeyCiphertext: fields.sessionKey } : {};
  const fixed = { result: WMMP_RESULTS.ok, timestamp };
  const outgoing = { header: answering(header, SECURITY.digest), body, fixed, tlvs };
  return encodeWmmp(outgoing, signAs(signer, timestamp));
}

/** The answer to any other command: nothing but its fixed fields. */
export function encodeAcknowledgement({ header, command }: WmmpMessage): Buffer {
  return encodeWmmp({
    header: answering(header, SECURITY.none),
    body: wmmpCommandRow(command).down,
    fixed: { result: resultOf(command), serial: Buffer.alloc(SERIAL_SIZE) },
  });
}

function resultOf(command: WmmpMessage['command']): number {
  if (command === 'CONFIG_TRAP') return WMMP_RESULTS.ok;
  return command === 'REGISTER' ? WMMP_RESULTS.failed : WMMP_RESULTS.notServed;
}

const CONFIGURED = [
  'uplinkPassword',
  'uplinkPasswordExpiry',
  'downlinkPassword',
  'downlinkPasswordExpiry',
  'baseKey',
  'baseKeyExpiry',
] as const;
/** Operation of a SECURITY_CONFIG that sets values. */
const SET = 0;

/** SECURITY_CONFIG with the values of a pending change, encrypted under the session key. */
export function encodeSecurityConfig(
  { terminal, signer }: Session,
  { version, timestamp }: WmmpSession,
  sessionKey: Buffer,
  sequence: number,
  { uplinkPassword, downlinkPassword, baseKey }: PendingChange,
): Buffer {
  const values: WmmpTlvs = {
    ...(uplinkPassword && { uplinkPassword, uplinkPasswordExpiry: NEVER }),
    ...(downlinkPassword && { downlinkPassword, downlinkPasswordExpiry: NEVER }),
    ...(baseKey && { baseKey, baseKeyExpiry: NEVER }),
  };
  const plain = Buffer.concat([Buffer.from([SET]), encodeTlvs(CONFIGURED, values)]);
  const { code, down } = WMMP_COMMANDS.SECURITY_CONFIG;
  const serial = serialBytes(terminal.serial);
  const header = { command: code, sequence, version, suite: SECURITY.encrypted, serial };
  const tlvs = { bodyCiphertext: wmmpEncrypt(sessionKey, plain) };
  return encodeWmmp({ header, body: down, fixed: {}, tlvs }, signAs(signer, timestamp));
}

function answering({ command, sequence, version, serial }: Header, security: number) {
  return { command: command | RESPONSE_BIT, sequence, version, suite: security, serial };
}

function signAs({ imei, imsi, password }: Signer, timestamp: number): Sign {
  return (covered) => wmmpDigest(covered, { timestamp, imei, imsi, password });
}
