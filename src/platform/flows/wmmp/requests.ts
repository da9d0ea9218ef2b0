/** Frames of a WMMP 3.0 session that stands: what all of them must pass, and what they settle. */
import { CHANGE_TARGETS } from '../../../protocol/changeTargets';
import { wmmpBody } from '../../../protocol/wmmp/commands';
import type { WmmpMessage } from '../../../protocol/wmmp/decode';
import { isWmmpBaseKeySize, newWmmpKey, newWmmpPassword } from '../../../crypto/wmmp';
import type { Answer, PendingChange, Session, Surroundings, TerminalRecord, WmmpSession } from '../../model';
import { hasForm, withPending } from '../credentialChange';
import { settle, usableInLogin } from '../credentials';
import { requestWrite, type RequestDecision, type SessionCase } from '../inSession';
import { verifyWmmp } from './verify';

/** Why a frame is not taken, for the operator; undefined: it is. */
export function flawOf(
  message: WmmpMessage,
  session: Session,
  { timestamp }: WmmpSession,
): string | undefined {
  const body = wmmpBody(message.header.command, 'up');
  if (message.digest === undefined) return body?.digest === 'required' ? 'no-digest' : undefined;
  const { terminal } = session;
  const { uplinkPassword } = usableInLogin(terminal);
  return verifyWmmp(message, terminal, timestamp, uplinkPassword) === undefined ? 'wrong-digest' : undefined;
}

/** A further frame on the connection shows that the answer to its login has arrived: the new values hold. */
export function decideSettling(request: SessionCase): RequestDecision {
  const settled = settle(request.record, request.session.wmmp?.unsettled ?? 0);
  const answer: Answer = { result: 'OK' };
  return settled === undefined
    ? { answer }
    : { answer, write: requestWrite('credentials', request, undefined, settled) };
}

/** As a further frame it settles too. */
export function decideWmmpLogout(request: SessionCase): RequestDecision {
  const settled = settle(request.record, request.session.wmmp?.unsettled ?? 0);
  return { answer: { result: 'OK' }, write: requestWrite('logout', request, undefined, settled) };
}

/** Why the platform's wish cannot be sent on this connection, for the operator. */
export const NEEDS_SESSION_KEY = 'waits-for-a-login-with-session-key';

/** Makes what the platform wishes pending, so that it can be sent: SECURITY_CONFIG leaves after the commit. */
export function decideSecurityConfig(request: SessionCase): RequestDecision {
  const { record, around } = request;
  const targets = targetsOf(record);
  if (targets === 0) return { answer: { result: 'CHANGE_REFUSED', detail: 'nothing-to-change' } };
  const change = sameChange(record, targets) ?? newChange(record, targets, around);
  const after = { ...withPending(record, change), revision: record.revision + 1 };
  return {
    answer: { result: 'OK', detail: 'by-security-config' },
    write: requestWrite('credentials', request, undefined, { settled: 0, text: undefined, record: after }),
  };
}

/**
 * The uplink password always goes along: a login under it shows that all was taken, also one that asks for no session
 * key and so shows no base key. A base key that this dialect cannot use is none.
 */
function targetsOf({ changes: { wished }, baseKey }: TerminalRecord): number {
  const hasKey = baseKey !== undefined && isWmmpBaseKeySize(baseKey.length);
  const targets = hasKey ? wished : wished & ~CHANGE_TARGETS.base_key;
  return targets === 0 ? 0 : targets | CHANGE_TARGETS.uplink;
}

const PASSWORD_SIZE = 8;

/**
 * What was sent before goes once more: whatever it was for where the terminal may hold nothing else already. Values
 * that a text has carried let nobody in before they are confirmed, which this dialect cannot do.
 */
function sameChange(
  { changes: { pending }, baseKey }: TerminalRecord,
  targets: number,
): PendingChange | undefined {
  if (pending === undefined || pending.bySms) return undefined;
  if (pending.shown !== 'never') return pending;
  return pending.targets === targets && hasForm(pending, PASSWORD_SIZE, baseKey?.length)
    ? pending
    : undefined;
}

function newChange({ changes }: TerminalRecord, targets: number, { random }: Surroundings): PendingChange {
  const fresh = (target: number, make: typeof newWmmpKey) =>
    (targets & target) === 0 ? undefined : make(random);
  return {
    id: changes.lastId + 1,
    targets,
    settled: 0,
    bySms: false,
    shown: 'never',
    textAt: undefined,
    uplinkPassword: fresh(CHANGE_TARGETS.uplink, newWmmpPassword),
    downlinkPassword: fresh(CHANGE_TARGETS.downlink, newWmmpPassword),
    baseKey: fresh(CHANGE_TARGETS.base_key, newWmmpKey),
  };
}
