/**
 * Requests of a session that stands on its connection: what all of them must pass, judged against the session's
 * own record. HEARTBEAT ends here; the others go on to be committed.
 */
import { isAbove } from '../../protocol/sequence';
import type { Message } from '../../protocol/decode';
import type {
  Answer,
  CredentialWrite,
  Session,
  SessionRow,
  SessionWrite,
  Surroundings,
  TerminalRecord,
} from '../model';
import { grantedKey, provenTargets, settle, usableInConfirm, usableInLogin } from './credentials';
import { judgeReplay, replayCutoff, REQUESTS_KEPT, roomAfter } from './replay';
import { clockDetail, isTimely, provenBaseKey, verifyDigest, type Authentic } from './verify';

/** A session for which something is decided, and the record that it is judged by. */
export interface SessionCase {
  readonly session: Session;
  readonly around: Surroundings;
  readonly record: TerminalRecord;
  /** Replay entry of the frame that it is about. */
  readonly entry: string;
}

/** An authentic request under judgement. */
export interface RequestCase extends SessionCase {
  readonly message: Message;
  readonly authentic: Authentic;
}

export type RequestDecision =
  { readonly answer: Answer } | { readonly answer: Answer; readonly write: SessionWrite };

/** The digest, clock and sequence of a request; moves the session's sequence where the digest is good. */
export function authenticate(message: Message, session: Session, around: Surroundings): Authentic | Answer {
  const { terminal, signer } = session;
  const authentic = authenticUnder(message, terminal, around.now);
  if (message.header.suite !== signer.suite) return { result: 'AUTH_FAILED', detail: 'other-suite' };
  if (authentic === undefined) return { result: 'AUTH_FAILED', detail: 'wrong-digest' };
  if (!isTimely(authentic, around.now, around.timestampWindow)) {
    return { result: 'CLOCK_SKEW', signer, detail: clockDetail(authentic.timestamp, around.now) };
  }
  if (!isAbove(message.header.sequence, session.lastSequence)) {
    return { result: 'REPLAY', signer, detail: 'sequence-not-rising' };
  }
  session.lastSequence = message.header.sequence;
  return authentic;
}

/** What a request shows under a record: a confirmation may be under the password of the pending change. */
export function authenticUnder(message: Message, record: TerminalRecord, now: number): Authentic | undefined {
  const pending =
    message.command === 'CREDENTIAL_CONFIRM' ? usableInConfirm(record).uplinkPassword : undefined;
  return verifyDigest(message, record, now, pending);
}

/** From now on the session is judged by this record. A downlink password that is settled is what answers are under. */
export function adopt(session: Session, record: TerminalRecord): void {
  const { downlinkPassword: password } = record;
  if (!password.equals(session.terminal.downlinkPassword)) session.signer = { ...session.signer, password };
  session.terminal = record;
}

export function isAuthentic(verdict: Authentic | Answer): verdict is Authentic {
  return 'timestamp' in verdict;
}

export function decideHeartbeat(message: Message, session: Session, around: Surroundings): Answer {
  const verdict = authenticate(message, session, around);
  return isAuthentic(verdict) ? { result: 'OK', signer: session.signer } : verdict;
}

/** Whether a response answers the session's CREDENTIAL_NOTICE; what does not is dropped. */
export function answersNotice(message: Message, session: Session, now: number): boolean {
  const { notice, terminal, signer } = session;
  if (notice === undefined || message.command !== 'CREDENTIAL_NOTICE') return false;
  return (
    message.header.sequence === notice.sequence &&
    message.header.suite === signer.suite &&
    message.fields.requestDigest?.equals(notice.digest) === true &&
    verifyDigest(message, terminal, now) !== undefined
  );
}

/** SESSION_KEY: a new key for the same session; the old one is void once this is committed. */
export function decideSessionKey(request: RequestCase): RequestDecision {
  const { message, session, authentic, around, record } = request;
  const shown = provenBaseKey(message, record, authentic, usableInLogin(record).baseKey);
  const { signer } = session;
  if (shown === undefined)
    return { answer: { result: 'BASE_KEY_MISMATCH', signer, detail: 'wrong-base-key-digest' } };
  const key = grantedKey(shown.key, around.random);
  const fields = { sessionId: Buffer.from(session.id, 'hex'), sessionKey: key.forTerminal };
  const settled = settle(record, provenTargets(record, authentic, shown));
  return {
    answer: { result: 'OK', signer, fields },
    write: requestWrite('session-key', request, key.plain, settled),
  };
}

export function decideLogout(request: RequestCase): RequestDecision {
  return {
    answer: { result: 'OK', signer: request.session.signer },
    write: requestWrite('logout', request, undefined),
  };
}

/** @param row what the database holds, where the commit of an earlier decision found something else than expected */
export function refuseByRow({ session, around, entry }: SessionCase, row: SessionRow): Answer | undefined {
  if (row.sessionId !== session.id) return { result: 'NOT_LOGGED_IN', detail: row.endReason ?? 'superseded' };
  const { now, timestampWindow } = around;
  const verdict = judgeReplay(row.requests, entry, replayCutoff(now, timestampWindow), REQUESTS_KEPT);
  if (verdict === 'taken') return { result: 'REPLAY', signer: session.signer, detail: 'frame-taken-before' };
  if (verdict === 'new') return undefined;
  const retryAfter = roomAfter(row.requests, now, timestampWindow);
  return { result: 'THROTTLED', fields: { retryAfter }, detail: 'too-many-requests' };
}

export function requestWrite(
  kind: SessionWrite['kind'],
  { session, record, entry }: SessionCase,
  sessionKey: Buffer | undefined,
  credentials?: CredentialWrite,
): SessionWrite {
  return {
    kind,
    terminalId: record.id,
    serial: record.serial,
    revision: record.revision,
    sessionId: session.id,
    sessionKey,
    replayEntry: entry,
    credentials,
  };
}
