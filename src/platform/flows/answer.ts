/** From an answer to bytes: signed where the table of results says so. */
import { frameDigest } from '../../crypto/digest';
import { COMMANDS, REFUSAL_RESPONSE, UNSIGNED_RESPONSE } from '../../protocol/commands';
import type { BodyShape, CommandName, DisconnectReason } from '../../protocol/commands';
import { commandName, commandRow, DISCONNECT_REASONS } from '../../protocol/commands';
import { encodeSigned, encodeUnsigned } from '../../protocol/encode';
import { RESPONSE_BIT, serialBytes, VERSION_4_0, type Header } from '../../protocol/header';
import { RESULTS } from '../../protocol/results';
import { SUITES } from '../../protocol/suites';
import type { Fields } from '../../protocol/tags';
import type { Answer, Session, Signer } from '../model';

/** @param now milliseconds since the epoch */
export function encodeAnswer(
  header: Header,
  digest: Buffer | undefined,
  answer: Answer,
  now: number,
): Buffer {
  const { code, signed } = RESULTS[answer.result];
  const outgoing = {
    command: header.command | RESPONSE_BIT,
    sequence: header.sequence,
    version: VERSION_4_0,
    result: code,
    serial: header.serial,
  };
  if (!signed || answer.signer === undefined || digest === undefined) {
    // Of commands that are never signed the answer that says yes has a body of its own.
    const shape =
      answer.result === 'OK' ? responseShape(commandName(header.command), answer) : UNSIGNED_RESPONSE;
    return encodeUnsigned({ header: outgoing, fields: answer.fields ?? {}, shape });
  }
  const fields = { timestamp: seconds(now), requestDigest: digest, ...answer.fields };
  const shape = responseShape(commandName(header.command), answer);
  return sign({ header: outgoing, fields, shape }, answer.signer, fields.timestamp);
}

function responseShape(command: CommandName | undefined, answer: Answer): BodyShape {
  const accepted = answer.result === 'OK' || answer.result === 'WAIT_FOR_SMS';
  return (accepted && command !== undefined ? commandRow(command).response : undefined) ?? REFUSAL_RESPONSE;
}

/**
 * DISCONNECT to a connection with a session, signed with what its login was answered with; undefined: its dialect has
 * none.
 *
 * @param retryAfter milliseconds
 */
export function encodeDisconnect(
  session: Session,
  sequence: number,
  reason: DisconnectReason,
  now: number,
  retryAfter?: number,
): Buffer | undefined {
  if (session.wmmp !== undefined) return undefined;
  const fields: Fields = {
    timestamp: seconds(now),
    sessionId: Buffer.from(session.id, 'hex'),
    disconnectReason: DISCONNECT_REASONS[reason],
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
  const outgoing = downlinkHeader(COMMANDS.DISCONNECT.code, sequence, serialBytes(session.terminal.serial));
  return sign({ header: outgoing, fields, shape: COMMANDS.DISCONNECT.request }, session.signer, seconds(now));
}

/** CREDENTIAL_NOTICE, and the digest that its answer will name. @param targets bit mask */
export function encodeNotice(
  session: Session,
  sequence: number,
  targets: number,
  now: number,
): { readonly bytes: Buffer; readonly digest: Buffer } {
  const timestamp = seconds(now);
  const fields: Fields = { timestamp, sessionId: Buffer.from(session.id, 'hex'), changeTargets: targets };
  const { code, request: shape } = COMMANDS.CREDENTIAL_NOTICE;
  const header = downlinkHeader(code, sequence, serialBytes(session.terminal.serial));
  const bytes = sign({ header, fields, shape }, session.signer, timestamp);
  return { bytes, digest: bytes.subarray(bytes.length - SUITES[session.signer.suite].digestSize) };
}

/** DISCONNECT to a connection that has not logged in: unsigned, and the serial is all zeros. */
export function encodeUnsignedDisconnect(
  sequence: number,
  reason: DisconnectReason,
  retryAfter?: number,
): Buffer {
  const fields: Fields = {
    disconnectReason: DISCONNECT_REASONS[reason],
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
  const outgoing = downlinkHeader(COMMANDS.DISCONNECT.code, sequence, Buffer.alloc(16));
  return encodeUnsigned({ header: outgoing, fields, shape: COMMANDS.DISCONNECT.request });
}

function downlinkHeader(command: number, sequence: number, serial: Buffer): Omit<Header, 'length' | 'suite'> {
  return { command, sequence, version: VERSION_4_0, result: 0, serial };
}

function sign(message: Parameters<typeof encodeSigned>[0], signer: Signer, timestamp: number): Buffer {
  const { suite, imei, imsi, password } = signer;
  return encodeSigned(message, suite, (covered) =>
    frameDigest(suite, covered, { timestamp, imei, imsi, password }),
  );
}

function seconds(now: number): number {
  return Math.floor(now / 1000);
}
