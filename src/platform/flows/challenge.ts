/** AUTH_CHALLENGE, and what AUTH_PROOF must show (docs/protocol.md, "Two-way login"). */
import { equalInConstantTime } from '../../crypto/constantTime';
import { hardwareHash, openPacket } from '../../crypto/credentialPacket';
import { isBaseKeySize } from '../../crypto/keyWrap';
import { firstCode, fourthCode } from '../../crypto/mutual';
import type { Decoded } from '../../protocol/decode';
import type { Answer, Challenge, Surroundings, TerminalRecord } from '../model';

const NONCE_SIZE = 16;

export interface Challenged {
  readonly answer: Answer;
  /** Undefined where no proof could meet it. */
  readonly challenge: Challenge | undefined;
}

/**
 * @param decoyKey known to nobody, for a serial that is unknown or has no base key: the same work, and a code that
 *   looks the same and is good for nothing
 */
export function decideChallenge(
  message: Decoded,
  record: TerminalRecord | undefined,
  { now, random }: Surroundings,
  decoyKey: Buffer,
): Challenged {
  const { serial } = message.header;
  const clientNonce = message.fields.clientNonce ?? Buffer.alloc(NONCE_SIZE);
  const serverNonce = random(NONCE_SIZE);
  const timestamp = Math.floor(now / 1000);
  const baseKey = usableKey(record);
  const first = firstCode(baseKey ?? decoyKey, { serial, clientNonce, serverNonce, timestamp });
  const detail = record === undefined ? 'unknown-serial' : baseKey === undefined ? 'no-base-key' : undefined;
  return {
    answer: {
      result: 'OK',
      fields: { serverNonce, timestamp, firstCode: first },
      ...(detail !== undefined && { detail }),
    },
    challenge: baseKey && { serial: Buffer.from(serial), serverNonce, firstCode: first },
  };
}

function usableKey(record: TerminalRecord | undefined): Buffer | undefined {
  const baseKey = record?.baseKey;
  return baseKey !== undefined && isBaseKeySize(baseKey.length) ? baseKey : undefined;
}

/** Why a proof does not meet the challenge, for the operator; undefined: it does. */
export function codeFlaw(
  message: Decoded,
  record: TerminalRecord,
  challenge: Challenge | undefined,
): string | undefined {
  const { serverNonce, thirdCode } = message.fields;
  const baseKey = usableKey(record);
  if (challenge === undefined || serverNonce === undefined || thirdCode === undefined) return 'no-challenge';
  if (!challenge.serial.equals(message.header.serial) || !challenge.serverNonce.equals(serverNonce))
    return 'no-challenge';
  const fourth = baseKey && fourthCode(baseKey, thirdCode);
  return fourth && equalInConstantTime(fourth, challenge.firstCode) ? undefined : 'third-code';
}

/** Why a packet does not belong to what shows it, for the operator; undefined: it does. */
export function packetFlaw(
  message: Decoded,
  record: TerminalRecord,
  { packetKeys }: Surroundings,
): string | undefined {
  const { credentialPacket, hardwareId, imei } = message.fields;
  const content = credentialPacket && openPacket(packetKeys(), message.header.serial, credentialPacket);
  if (content === undefined || content.imei !== imei) return 'packet';
  const shown = hardwareHash(hardwareId ?? Buffer.alloc(0));
  if (!equalInConstantTime(shown, content.hardwareHash)) return 'hardware-id';
  return content.issuedAt <= record.packetsRevokedAt ? 'revoked' : undefined;
}
