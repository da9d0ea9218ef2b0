/** CREDENTIAL_CHANGE and CREDENTIAL_CONFIRM (docs/credential-change.md). */
import { writeCredentialText } from '../../crypto/credentialText';
import { isBaseKeySize, wrapKey } from '../../crypto/keyWrap';
import { CHANGE_TARGETS } from '../../protocol/changeTargets';
import type { Fields } from '../../protocol/tags';
import type { Answer, CredentialWrite, PendingChange, Surroundings, TerminalRecord, Text } from '../model';
import { provenTargets, settle, usableInConfirm, usableInLogin } from './credentials';
import { requestWrite, type RequestCase, type RequestDecision } from './inSession';
import { provenBaseKey, type ProvenKey } from './verify';

/** Values of CHANGE_DELIVERY. */
const DELIVERY = { decide: 0, ciphertext: 1, sms: 2, plainSms: 3 } as const;
const PASSWORD_SIZE = 16;
/** Milliseconds within which a change is not texted twice. */
const TEXT_PAUSE = 60_000;

/** How the new values are to travel. */
type Way =
  | { readonly kind: 'ciphertext'; readonly key: ProvenKey }
  | { readonly kind: 'sms'; readonly msisdn: string; readonly plain: boolean }
  | { readonly kind: 'none'; readonly why: string };

export function decideChange(request: RequestCase): RequestDecision {
  const { message, session, authentic, around, record } = request;
  const targets = message.fields.changeTargets ?? 0;
  const shown = provenBaseKey(message, record, authentic, usableInLogin(record).baseKey);
  const way = judgeWay(request, targets, shown);
  if (way.kind === 'none') {
    return { answer: { result: 'CHANGE_REFUSED', signer: session.signer, detail: way.why } };
  }
  const change = sameChange(record, targets) ?? newChange(record, targets, around);
  return way.kind === 'sms' ? byText(request, change, way) : byCiphertext(request, change, way.key);
}

/** The platform judges how the values travel; the terminal may narrow it down. */
function judgeWay(
  { message, record, around }: RequestCase,
  targets: number,
  shown: ProvenKey | undefined,
): Way {
  const delivery = message.fields.changeDelivery ?? DELIVERY.decide;
  const { baseKey, msisdn } = record;
  // Such a terminal may fall back to WMMP 3.0, whose fields are too small for the values made here.
  if (record.leastLogin === 'wmmp3') return { kind: 'none', why: 'least-login-is-wmmp3' };
  if ((targets & CHANGE_TARGETS.base_key) !== 0 && (baseKey === undefined || !isBaseKeySize(baseKey.length)))
    return { kind: 'none', why: 'no-base-key' };
  if (delivery === DELIVERY.plainSms && !around.plainTexts) return { kind: 'none', why: 'plain-sms-is-off' };
  const asksForSms = delivery === DELIVERY.sms || delivery === DELIVERY.plainSms;
  if (shown !== undefined && !asksForSms) return { kind: 'ciphertext', key: shown };
  if (!asksForSms && delivery !== DELIVERY.decide) return { kind: 'none', why: 'wrong-base-key-digest' };
  if (msisdn === undefined) return { kind: 'none', why: 'no-phone-number' };
  return { kind: 'sms', msisdn, plain: delivery === DELIVERY.plainSms };
}

/** Asked for again before it was confirmed: the same values under the same id. */
function sameChange({ changes, baseKey }: TerminalRecord, targets: number): PendingChange | undefined {
  const { pending } = changes;
  return pending?.targets === targets && hasForm(pending, PASSWORD_SIZE, baseKey?.length)
    ? pending
    : undefined;
}

/** Whether the values of a change have the sizes of a dialect. */
export function hasForm(change: PendingChange, passwordSize: number, keySize: number | undefined): boolean {
  const { uplinkPassword, downlinkPassword, baseKey } = change;
  const fits = (value: Buffer | undefined, size: number | undefined) =>
    value === undefined || value.length === size;
  return fits(uplinkPassword, passwordSize) && fits(downlinkPassword, passwordSize) && fits(baseKey, keySize);
}

function newChange(record: TerminalRecord, targets: number, { random }: Surroundings): PendingChange {
  const fresh = (target: number, size: number) => ((targets & target) === 0 ? undefined : random(size));
  return {
    id: record.changes.lastId + 1,
    targets,
    settled: 0,
    bySms: false,
    shown: 'never',
    textAt: undefined,
    uplinkPassword: fresh(CHANGE_TARGETS.uplink, PASSWORD_SIZE),
    downlinkPassword: fresh(CHANGE_TARGETS.downlink, PASSWORD_SIZE),
    baseKey: fresh(CHANGE_TARGETS.base_key, record.baseKey?.length ?? 0),
  };
}

function byText(
  request: RequestCase,
  change: PendingChange,
  { msisdn, plain }: Extract<Way, { kind: 'sms' }>,
): RequestDecision {
  const { record, session, around } = request;
  const again = change.textAt === undefined || around.now - change.textAt >= TEXT_PAUSE;
  const { imei, imsi, downlinkPassword } = record;
  const context = { suite: session.signer.suite, changeId: change.id, imei, imsi, downlinkPassword };
  const text: Text | undefined = again
    ? { msisdn, text: writeCredentialText(change, context, plain) }
    : undefined;
  const pending = { ...change, bySms: true, textAt: again ? around.now : change.textAt };
  const answer: Answer = {
    result: 'WAIT_FOR_SMS',
    signer: session.signer,
    fields: { changeId: change.id, changeTargets: change.targets },
    detail: again ? 'by-sms' : 'by-sms-sent-already',
  };
  return granted(request, answer, { settled: 0, text, record: withPending(record, pending) });
}

function byCiphertext(request: RequestCase, change: PendingChange, key: ProvenKey): RequestDecision {
  const { record, authentic } = request;
  const fields: Fields = { changeId: change.id, changeTargets: change.targets };
  if (change.uplinkPassword) fields.newUplinkPassword = wrapKey(key.key, change.uplinkPassword);
  if (change.downlinkPassword) fields.newDownlinkPassword = wrapKey(key.key, change.downlinkPassword);
  if (change.baseKey) fields.newBaseKey = wrapKey(key.key, change.baseKey);
  // A request that shows the pending key settles it, whatever it asks for.
  const settled = settle(record, provenTargets(record, authentic, key));
  const before = settled?.record ?? record;
  const isNew = change.id > record.changes.lastId;
  const after = isNew ? withPending(before, change) : before;
  const signer = { ...request.session.signer, password: after.downlinkPassword };
  const answer: Answer = { result: 'OK', signer, fields, detail: 'by-ciphertext' };
  return granted(request, answer, { settled: settled?.settled ?? 0, text: undefined, record: after });
}

export function withPending(record: TerminalRecord, pending: PendingChange): TerminalRecord {
  const lastId = Math.max(record.changes.lastId, pending.id);
  return { ...record, changes: { ...record.changes, lastId, pending } };
}

export function decideConfirm(request: RequestCase): RequestDecision {
  const { message, record } = request;
  const { pending, confirmed } = record.changes;
  const id = message.fields.changeId;
  if (pending?.id === id && pending !== undefined) return confirmPending(request, pending);
  if (confirmed?.id === id && confirmed !== undefined) return confirmAgain(request, confirmed);
  return refused(request, 'CHANGE_REFUSED', 'unknown-change-id');
}

function confirmPending(request: RequestCase, pending: PendingChange): RequestDecision {
  const { message, record, authentic } = request;
  const usable = usableInConfirm(record);
  if (usable.uplinkPassword !== undefined && !authentic.pending)
    return refused(request, 'CHANGE_REFUSED', 'not-under-new-uplink-password');
  const key = provenBaseKey(message, record, authentic, usable.baseKey);
  const keyOpen = usable.baseKey !== undefined;
  const holdsKey = (pending.targets & CHANGE_TARGETS.base_key) === 0 || key?.pending === keyOpen;
  if (!holdsKey) return refused(request, 'BASE_KEY_MISMATCH', 'new-base-key-not-shown');
  return confirmedAs(request, settle(record, pending.targets) ?? unchanged(record));
}

/** Its answer was lost. The values are current already. */
function confirmAgain(request: RequestCase, confirmed: { readonly targets: number }): RequestDecision {
  const { message, record, authentic } = request;
  const holdsKey =
    (confirmed.targets & CHANGE_TARGETS.base_key) === 0 ||
    provenBaseKey(message, record, authentic)?.pending === false;
  if (authentic.pending) return refused(request, 'CHANGE_REFUSED', 'not-under-current-uplink-password');
  if (!holdsKey) return refused(request, 'BASE_KEY_MISMATCH', 'new-base-key-not-shown');
  return confirmedAs(request, unchanged(record));
}

function unchanged(record: TerminalRecord): CredentialWrite {
  return { settled: 0, text: undefined, record };
}

function confirmedAs(request: RequestCase, write: CredentialWrite): RequestDecision {
  const { message, session } = request;
  const signer = { ...session.signer, password: write.record.downlinkPassword };
  const fields = { changeId: message.fields.changeId };
  return granted(request, { result: 'OK', signer, fields } as Answer, write);
}

function granted(request: RequestCase, answer: Answer, write: CredentialWrite): RequestDecision {
  const record = { ...write.record, revision: request.record.revision + 1 };
  return { answer, write: requestWrite('credentials', request, undefined, { ...write, record }) };
}

function refused({ session }: RequestCase, result: Answer['result'], detail: string): RequestDecision {
  return { answer: { result, signer: session.signer, detail } };
}
