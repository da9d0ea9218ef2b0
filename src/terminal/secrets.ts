/**
 * Which secrets a device tries, and what an answer tells about them: pure rules, so that no power cut and no lost
 * frame at any moment can lock it out (docs/credential-change.md).
 *
 * Each old value is kept, and the other one tried where one fails, until a signed OK has come to a frame that proved
 * one of them. What proved itself is the current one; what the platform could no longer hold is then forgotten.
 */
import { readCredentialText, type NewSecrets, type TextRefusal } from '../crypto/credentialText';
import { CHANGE_TARGETS } from '../protocol/changeTargets';
import type { AwaitedText, DeviceChange, DeviceState } from './state';
import { NO_SPARES } from './state';

/** Undecided values of one kind that are kept at most; older ones have been overtaken several times. */
const MOST_SPARES = 4;

type SecretName = 'uplinkPassword' | 'downlinkPassword' | 'baseKey';

const SPARES = {
  uplinkPassword: 'uplinkPasswords',
  downlinkPassword: 'downlinkPasswords',
  baseKey: 'baseKeys',
} as const;
const TARGET = {
  uplinkPassword: CHANGE_TARGETS.uplink,
  downlinkPassword: CHANGE_TARGETS.downlink,
  baseKey: CHANGE_TARGETS.base_key,
} as const;
const NAMES = Object.keys(SPARES) as SecretName[];

/** New values that the platform may hold as current: all but those of a text that has not been confirmed. */
function live({ change }: DeviceState): DeviceChange | undefined {
  return change !== undefined && (!change.bySms || change.confirming) ? change : undefined;
}

function candidates(state: DeviceState, name: SecretName): Buffer[] {
  const all = [live(state)?.[name], state[name], ...state.spares[SPARES[name]]];
  return distinct(all.filter((value) => value !== undefined));
}

function distinct(values: readonly Buffer[]): Buffer[] {
  return values.filter((value, i) => values.findIndex((other) => other.equals(value)) === i);
}

/** Uplink passwords in the order in which logins try them. */
export function uplinkCandidates(state: DeviceState): Buffer[] {
  return candidates(state, 'uplinkPassword');
}

/** Base keys in the order in which they are shown. */
export function baseKeyCandidates(state: DeviceState): Buffer[] {
  return candidates(state, 'baseKey');
}

/** What an answer may be signed under. */
export function downlinkCandidates(state: DeviceState): Buffer[] {
  return candidates(state, 'downlinkPassword');
}

/** What a request that was answered OK, signed, was made with. */
export interface Proven {
  readonly uplinkPassword: Buffer;
  /** The one that the answer is signed under. */
  readonly downlinkPassword: Buffer;
  /** Where the request showed it. */
  readonly baseKey: Buffer | undefined;
}

/** These are current on the platform: they stay, and what they replaced goes. */
export function afterProof(state: DeviceState, proven: Proven): DeviceState {
  const next = NAMES.reduce((before, name) => {
    const value = proven[name];
    return value === undefined
      ? before
      : { ...before, [name]: value, spares: { ...before.spares, [SPARES[name]]: [] } };
  }, state);
  const { change } = next;
  const open = change && NAMES.some((name) => isOpen(next, change, name));
  return open ? next : { ...next, change: undefined };
}

function isOpen(state: DeviceState, change: DeviceChange, name: SecretName): boolean {
  const value = change[name];
  return value !== undefined && state[name]?.equals(value) !== true;
}

/** New values have come. Stored before anything is made with them. */
export function withChange(
  state: DeviceState,
  told: { readonly id: number; readonly targets: number; readonly bySms: boolean },
  values: NewSecrets,
): DeviceState {
  const { change } = state;
  if (change?.id === told.id && change.targets === told.targets) {
    // Asked for again: the same values. What came as ciphertext before a text may have been settled meanwhile.
    return { ...state, waiting: undefined, change: { ...change, bySms: change.bySms && told.bySms } };
  }
  return { ...withoutChange(state), waiting: undefined, change: { ...told, confirming: false, ...values } };
}

/** Gives a change up without forgetting what the platform may have made of it. */
export function withoutChange(state: DeviceState): DeviceState {
  const left = live(state);
  if (left === undefined) return { ...state, change: undefined };
  const spares = { ...NO_SPARES, ...state.spares };
  for (const name of NAMES) {
    if (!isOpen(state, left, name)) continue;
    const value = left[name] as Buffer;
    spares[SPARES[name]] = distinct([value, ...spares[SPARES[name]]]).slice(0, MOST_SPARES);
  }
  return { ...state, change: undefined, spares };
}

/** From here on the new values may be current on the platform. Stored before CREDENTIAL_CONFIRM leaves. */
export function withConfirming(state: DeviceState): DeviceState {
  return state.change ? { ...state, change: { ...state.change, confirming: true } } : state;
}

/** What CREDENTIAL_CONFIRM is made with: the new values. */
export function confirmingDevice(state: DeviceState): DeviceState {
  const { change } = state;
  return {
    ...state,
    uplinkPassword: change?.uplinkPassword ?? state.uplinkPassword,
    baseKey: change?.baseKey ?? state.baseKey,
  };
}

/** The state with what a text brought, or why the text is not taken. */
export function afterText(state: DeviceState, text: string): DeviceState | TextRefusal | 'not-awaited' {
  const { waiting, imei, imsi } = state;
  if (waiting === undefined) return 'not-awaited';
  let refusal: TextRefusal = 'not-a-text';
  for (const downlinkPassword of downlinkCandidates(state)) {
    const context = { suite: waiting.suite, changeId: waiting.id, imei, imsi, downlinkPassword };
    const read = readCredentialText(text, context);
    if (typeof read === 'string') refusal = read;
    else if (!fits(read, waiting, state)) refusal = 'not-a-text';
    else return withChange(state, { id: waiting.id, targets: waiting.targets, bySms: true }, read);
  }
  return refusal;
}

/** Just the values that were announced, a base key as long as the one it replaces. */
export function fits(
  values: NewSecrets,
  { targets }: Pick<AwaitedText, 'targets'>,
  state: DeviceState,
): boolean {
  const sizes = values.baseKey === undefined || values.baseKey.length === state.baseKey?.length;
  return sizes && NAMES.every((name) => (values[name] !== undefined) === ((targets & TARGET[name]) !== 0));
}
