/** What the answer to CREDENTIAL_CHANGE brings: new values, or the announcement of a text. */
import type { NewSecrets } from '../crypto/credentialText';
import { unwrapKey } from '../crypto/keyWrap';
import type { ResultName } from '../protocol/results';
import type { Fields } from '../protocol/tags';
import { refuse, type Answer, type Refused } from './answers';
import type { Asked } from './requests';
import { fits, withChange } from './secrets';
import type { DeviceState } from './state';

const ACCEPTED: ReadonlySet<ResultName> = new Set<ResultName>(['OK', 'WAIT_FOR_SMS']);

export type ChangeTaken =
  { readonly kind: 'taken'; readonly state: DeviceState } | { readonly kind: 'nothing' } | Refused;

/** @param targets bit mask that was asked for */
export function takeChange(state: DeviceState, asked: Asked, answer: Answer, targets: number): ChangeTaken {
  if (answer.kind !== 'signed' || !ACCEPTED.has(answer.result)) return { kind: 'nothing' };
  const { changeId: id, changeTargets } = answer.fields;
  if (id === undefined || changeTargets !== targets) return refuse('values-missing');
  if (answer.result === 'WAIT_FOR_SMS') {
    return { kind: 'taken', state: { ...state, waiting: { id, targets, suite: asked.suite } } };
  }
  const values = openValues(asked, answer.fields);
  if (values === undefined) return refuse('values-unreadable');
  if (!fits(values, { targets }, state)) return refuse('values-missing');
  return { kind: 'taken', state: withChange(state, { id, targets, bySms: false }, values) };
}

/** The values of a change, unwrapped; undefined where one does not open. */
function openValues({ baseKey }: Asked, fields: Readonly<Fields>): NewSecrets | undefined {
  const { newUplinkPassword, newDownlinkPassword, newBaseKey } = fields;
  const wrapped = {
    uplinkPassword: newUplinkPassword,
    downlinkPassword: newDownlinkPassword,
    baseKey: newBaseKey,
  };
  const opened: Record<string, Buffer> = {};
  for (const [name, value] of Object.entries(wrapped)) {
    if (value === undefined) continue;
    const plain = baseKey && unwrapKey(baseKey, value);
    if (plain === undefined) return undefined;
    opened[name] = plain;
  }
  return opened;
}
