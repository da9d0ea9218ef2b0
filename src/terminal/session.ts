/** A device's session, and what the gateway may ask within it. Lives in memory only. */
import { equalInConstantTime } from '../crypto/constantTime';
import { frameDigest } from '../crypto/digest';
import { commandRow, disconnectReasonName, type DisconnectReason } from '../protocol/commands';
import { decode, type Message } from '../protocol/decode';
import { encodeSigned } from '../protocol/encode';
import { faultText, isFault } from '../protocol/faults';
import { RESPONSE_BIT, VERSION_4_0, type ReadHeader } from '../protocol/header';
import { UNSIGNED, type SignedSuite } from '../protocol/suites';
import { cappedRetry, refuse, type Refused, type SignedAnswer } from './answers';
import type { Asked } from './requests';
import type { DeviceState } from './state';

/** What a login was answered with: all that the gateway's own requests are judged by. */
export interface Session {
  /** 8 bytes. */
  readonly id: Buffer;
  readonly suite: SignedSuite;
  /** 16 bytes, padded. */
  readonly serial: Buffer;
  readonly imei: string;
  readonly imsi: string;
  readonly downlinkPassword: Buffer;
  /** Seconds from login. */
  readonly ttl: number;
  /** Seconds; 0 asks for none. */
  readonly heartbeatInterval: number;
  readonly key: Buffer | undefined;
  /** Bit mask of what the platform wishes to see changed; 0 for nothing. */
  readonly wishedChange: number;
}

/** The session that a LOGIN's answer opens, or undefined where its result is not OK. */
export function openSession(asked: Asked, answer: SignedAnswer): Session | undefined {
  const { sessionId, sessionTtl, heartbeatInterval, changeTargets } = answer.fields;
  if (sessionId === undefined || sessionTtl === undefined || heartbeatInterval === undefined)
    return undefined;
  return {
    // A copy: the value is a view into a read buffer that it would keep alive.
    id: Buffer.from(sessionId),
    suite: asked.suite,
    serial: asked.serial,
    imei: asked.imei,
    imsi: asked.imsi,
    downlinkPassword: answer.downlinkPassword,
    ttl: sessionTtl,
    heartbeatInterval,
    key: answer.sessionKey,
    wishedChange: changeTargets ?? 0,
  };
}

export interface Disconnect {
  readonly kind: 'disconnect';
  /** One that is not only means "try later". */
  readonly signed: boolean;
  readonly reason: DisconnectReason;
  /** Milliseconds. */
  readonly retryAfter: number | undefined;
}

export interface Notice {
  readonly kind: 'notice';
  readonly sequence: number;
  readonly digest: Buffer;
  /** Bit mask. */
  readonly targets: number;
}

export type DownlinkRequest = Disconnect | Notice;

/** Judges a request of the gateway. Where a session stands, only what is signed within it counts. */
export function judgeDownlink(
  session: Session | undefined,
  { header, bytes }: { readonly header: ReadHeader; readonly bytes: Buffer },
): DownlinkRequest | Refused {
  const message = decode(header, bytes);
  if (isFault(message)) return refuse('undecodable', faultText(message));
  const wrong = session === undefined ? judgeOutside(message) : judgeWithin(session, message);
  return wrong ?? read(message);
}

function judgeOutside({ header }: Message): Refused | undefined {
  return header.suite === UNSIGNED ? undefined : refuse('no-session');
}

function judgeWithin(session: Session, { header, fields, covered, digest }: Message): Refused | undefined {
  if (header.suite === UNSIGNED) return refuse('signature-missing');
  if (header.suite !== session.suite) return refuse('other-suite');
  const { timestamp, sessionId } = fields;
  if (timestamp === undefined || sessionId === undefined || digest === undefined)
    return refuse('undecodable');
  if (!header.serial.equals(session.serial)) return refuse('other-session', 'other serial');
  const { imei, imsi, downlinkPassword: password } = session;
  const right = frameDigest(session.suite, covered, { timestamp, imei, imsi, password });
  if (!equalInConstantTime(right, digest)) return refuse('wrong-digest');
  return sessionId.equals(session.id) ? undefined : refuse('other-session');
}

function read({ command, header, fields, digest }: Message): DownlinkRequest | Refused {
  if (command === 'CREDENTIAL_NOTICE' && digest !== undefined && fields.changeTargets !== undefined) {
    return { kind: 'notice', sequence: header.sequence, digest, targets: fields.changeTargets };
  }
  const reason = disconnectReasonName(fields.disconnectReason ?? 0);
  if (command !== 'DISCONNECT' || reason === undefined) return refuse('undecodable');
  const signed = digest !== undefined;
  return { kind: 'disconnect', signed, reason, retryAfter: cappedRetry(fields.retryAfter) };
}

/** The acknowledgement of a CREDENTIAL_NOTICE, with an explicit timestamp. */
export function noticeReply(
  device: DeviceState,
  session: Session,
  notice: Notice,
  timestamp: number,
): Buffer {
  const row = commandRow('CREDENTIAL_NOTICE');
  const { imei, imsi, suite, serial } = session;
  return encodeSigned(
    {
      header: {
        command: row.code | RESPONSE_BIT,
        sequence: notice.sequence,
        version: VERSION_4_0,
        result: 0,
        serial,
      },
      fields: { timestamp, requestDigest: notice.digest },
      shape: row.response ?? row.request,
    },
    suite,
    (covered) => frameDigest(suite, covered, { timestamp, imei, imsi, password: device.uplinkPassword }),
  );
}
