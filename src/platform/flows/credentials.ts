/**
 * The states of a terminal's secrets (docs/credential-change.md): current; pending next to current; settled, when
 * the terminal has shown that it has them; confirmed, when all of a change is settled. What was replaced is gone.
 */
import { wrapKey } from '../../crypto/keyWrap';
import { CHANGE_TARGETS } from '../../protocol/changeTargets';
import type { ChangeState, CredentialWrite, PendingChange, Shown, TerminalRecord } from '../model';
import type { Authentic, ProvenKey } from './verify';

/** Detail of a login that made pending values current. */
export const SETTLED = 'settled-pending-change';
/** Detail of one that will, once a further frame has come. */
export const UNDER_PENDING = 'under-pending-credentials';

/** Pending values that a frame may be made with. */
export interface Usable {
  readonly uplinkPassword?: Buffer | undefined;
  readonly baseKey?: Buffer | undefined;
}

/** In LOGIN, AUTH_PROOF and for BASE_KEY_DIGEST: none of a change that an SMS has carried. */
export function usableInLogin({ changes }: TerminalRecord): Usable {
  return changes.pending === undefined || changes.pending.bySms ? {} : unsettled(changes.pending);
}

/** In CREDENTIAL_CONFIRM, which is how a change by SMS is settled. */
export function usableInConfirm({ changes }: TerminalRecord): Usable {
  return changes.pending === undefined ? {} : unsettled(changes.pending);
}

function unsettled({ targets, settled, uplinkPassword, baseKey }: PendingChange): Usable {
  const open = targets & ~settled;
  return {
    uplinkPassword: (open & CHANGE_TARGETS.uplink) === 0 ? undefined : uplinkPassword,
    baseKey: (open & CHANGE_TARGETS.base_key) === 0 ? undefined : baseKey,
  };
}

const PASSWORDS = CHANGE_TARGETS.uplink | CHANGE_TARGETS.downlink;

/** What a frame has proven of the pending change: both its passwords, its base key, or neither (0). */
export function provenTargets(
  { changes }: TerminalRecord,
  authentic: Authentic,
  key: ProvenKey | undefined,
): number {
  const targets = changes.pending?.targets ?? 0;
  return (authentic.pending ? targets & PASSWORDS : 0) | (key?.pending ? CHANGE_TARGETS.base_key : 0);
}

/** Makes pending values current, to be committed; undefined where `proven` names none. */
export function settle(record: TerminalRecord, proven: number): CredentialWrite | undefined {
  const { pending } = record.changes;
  const settled = pending === undefined ? 0 : proven & pending.targets & ~pending.settled;
  if (pending === undefined || settled === 0) return undefined;
  const takes = (target: number) => (settled & target) !== 0;
  return {
    settled,
    text: undefined,
    record: {
      ...record,
      revision: record.revision + 1,
      uplinkPassword: (takes(CHANGE_TARGETS.uplink) && pending.uplinkPassword) || record.uplinkPassword,
      downlinkPassword:
        (takes(CHANGE_TARGETS.downlink) && pending.downlinkPassword) || record.downlinkPassword,
      baseKey: (takes(CHANGE_TARGETS.base_key) && pending.baseKey) || record.baseKey,
      changes: afterSettling(record.changes, pending, settled),
    },
  };
}

/** What a login does about pending values that it was made under. */
export interface Proof {
  readonly write: CredentialWrite | undefined;
  /** Bit mask of those that a further frame has to settle. */
  readonly unsettled: number;
}

/** Version 4.0: whoever uses new values has stored them. */
export function settleAtOnce(record: TerminalRecord, proven: number): Proof {
  return { write: settle(record, proven), unsettled: 0 };
}

/**
 * WMMP 3.0: a terminal whose first login under new values gets no answer goes back to the old ones, so the second
 * such login settles, or a further frame after the first. A login under the current ones begins anew.
 *
 * @param isRepeat the same frame came before and got no answer: it may have been committed all the same
 */
export function settleLater(record: TerminalRecord, proven: number, isRepeat: boolean): Proof {
  const { pending } = record.changes;
  const shown = pending === undefined ? 0 : proven & pending.targets & ~pending.settled;
  if (pending === undefined || (shown === 0 && pending.shown !== 'latest'))
    return { write: undefined, unsettled: 0 };
  if (shown !== 0 && pending.shown === 'latest')
    return isRepeat ? { write: undefined, unsettled: shown } : settleAtOnce(record, shown);
  const now: Shown = shown !== 0 ? 'latest' : 'earlier';
  const changes = { ...record.changes, pending: { ...pending, shown: now } };
  const after = { ...record, revision: record.revision + 1, changes };
  return { write: { settled: 0, text: undefined, record: after }, unsettled: shown };
}

function notLatest(shown: Shown): Shown {
  return shown === 'never' ? 'never' : 'earlier';
}

function afterSettling(changes: ChangeState, pending: PendingChange, settled: number): ChangeState {
  const all = pending.settled | settled;
  const wished = changes.wished & ~settled;
  if (all !== pending.targets)
    return { ...changes, wished, pending: { ...pending, settled: all, shown: notLatest(pending.shown) } };
  const { id, targets } = pending;
  return { ...changes, wished, pending: undefined, confirmed: { id, targets } };
}

/** A fresh session key, and as the terminal gets it. */
export interface GrantedKey {
  readonly plain: Buffer;
  readonly forTerminal: Buffer;
}

export function grantedKey(baseKey: Buffer, random: (size: number) => Buffer): GrantedKey {
  const plain = random(baseKey.length);
  return { plain, forTerminal: wrapKey(baseKey, plain) };
}
