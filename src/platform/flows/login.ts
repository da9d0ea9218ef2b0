/**
 * LOGIN of either dialect, and AUTH_PROOF: the rules as a list, and what a login that passes them all is given
 * (docs/protocol.md, "Commands"; docs/wmmp.md).
 */
import { CHANGE_TARGETS } from '../../protocol/changeTargets';
import type { Decoded } from '../../protocol/decode';
import { LOGIN_KINDS } from '../model';
import type {
  Answer,
  Challenge,
  CredentialWrite,
  LoginKind,
  LoginWrite,
  Session,
  Signer,
  Surroundings,
  TerminalRecord,
  TerminalView,
} from '../model';
import { codeFlaw, packetFlaw } from './challenge';
import { provenTargets, SETTLED, UNDER_PENDING, usableInLogin, type GrantedKey } from './credentials';
import { dialectOf, type Dialect } from './dialect';
import { judgeReplay, LOGINS_KEPT, replayCutoff, roomAfter } from './replay';
import { clockDetail, isTimely, type Authentic, type ProvenKey } from './verify';

export interface LoginGrant {
  readonly answer: Answer;
  readonly write: LoginWrite;
  readonly session: Session;
}

export type LoginDecision = { readonly refused: Answer } | { readonly granted: LoginGrant };

/** A login under judgement. `authentic` and what follows from it are there once its check has passed. */
interface LoginCase {
  readonly message: Decoded;
  readonly dialect: Dialect;
  readonly view: TerminalView;
  readonly around: Surroundings;
  readonly kind: LoginKind;
  readonly challenge: Challenge | undefined;
  authentic?: Authentic;
  entry?: string;
  baseKey?: ProvenKey;
}

type Rule = (login: LoginCase) => Answer | undefined;

/** The first that fails gives the result (docs/protocol.md, "Order of checks"). */
const RULES: readonly Rule[] = [
  strongEnough,
  digestRight,
  challengeMet,
  packetRight,
  statusActive,
  clockTimely,
  bindingHolds,
  notReplayed,
  baseKeyRight,
];

/**
 * Judges a LOGIN or an AUTH_PROOF.
 *
 * @param source address that the login came from, for the session row
 * @param challenge what an AUTH_PROOF must answer, where one was given on its connection
 */
export function decideLogin(
  message: Decoded,
  view: TerminalView,
  around: Surroundings,
  source: string,
  challenge?: Challenge,
): LoginDecision {
  const dialect = dialectOf(message.header);
  const login: LoginCase = { message, dialect, view, around, kind: dialect.kind(message), challenge };
  for (const rule of RULES) {
    const refused = rule(login);
    if (refused !== undefined) return { refused };
  }
  return { granted: grant(login, source) };
}

function strongEnough({ kind, view }: LoginCase): Answer | undefined {
  const weaker = LOGIN_KINDS.indexOf(kind) < LOGIN_KINDS.indexOf(view.record.leastLogin);
  return weaker ? { result: 'AUTH_FAILED', detail: 'below-least-login' } : undefined;
}

function digestRight(login: LoginCase): Answer | undefined {
  const { record } = login.view;
  const { uplinkPassword } = usableInLogin(record);
  const { message, dialect, around } = login;
  const authentic = dialect.verify(message, record, around.now, uplinkPassword);
  if (authentic === undefined) return { result: 'AUTH_FAILED', detail: 'wrong-digest' };
  login.authentic = authentic;
  login.entry = dialect.replayEntry(message, authentic, around.random);
  return undefined;
}

function challengeMet({ kind, message, view, challenge }: LoginCase): Answer | undefined {
  const flaw = kind === 'mutual' ? codeFlaw(message, view.record, challenge) : undefined;
  return flaw === undefined ? undefined : { result: 'AUTH_FAILED', detail: flaw };
}

function packetRight({ kind, message, view, around }: LoginCase): Answer | undefined {
  const flaw = kind === 'mutual' ? packetFlaw(message, view.record, around) : undefined;
  return flaw === undefined ? undefined : { result: 'AUTH_FAILED', detail: flaw };
}

function statusActive(login: LoginCase): Answer | undefined {
  const { status } = login.view.record;
  return status === 'active' ? undefined : signed(login, 'SUSPENDED', status);
}

function clockTimely(login: LoginCase): Answer | undefined {
  const { now, timestampWindow } = login.around;
  if (isTimely(proven(login), now, timestampWindow)) return undefined;
  return signed(login, 'CLOCK_SKEW', clockDetail(proven(login).timestamp, now));
}

function bindingHolds(login: LoginCase): Answer | undefined {
  const { imei, imsi } = proven(login);
  const { record } = login.view;
  const wrong = [imei !== record.imei ? 'imei' : '', imsi !== record.imsi ? 'imsi' : ''].filter(Boolean);
  return wrong.length === 0 ? undefined : signed(login, 'BINDING_MISMATCH', `other-${wrong.join('-and-')}`);
}

/** A record from the cache knows no row; there the committing statement makes this check. */
function notReplayed(login: LoginCase): Answer | undefined {
  const { row } = login.view;
  const { now, timestampWindow } = login.around;
  if (row === undefined) return undefined;
  const verdict = judgeReplay(row.logins, entryOf(login), replayCutoff(now, timestampWindow), LOGINS_KEPT);
  if (verdict === 'taken') return signed(login, 'REPLAY', 'frame-taken-before');
  if (verdict === 'new') return undefined;
  const retryAfter = roomAfter(row.logins, now, timestampWindow);
  return { result: 'THROTTLED', fields: { retryAfter }, detail: 'too-many-logins' };
}

function baseKeyRight(login: LoginCase): Answer | undefined {
  if (login.message.fields.sessionKeyRequest === undefined) return undefined;
  const { record } = login.view;
  const { baseKey: pending } = usableInLogin(record);
  const baseKey = login.dialect.provenKey(login.message, record, proven(login), pending);
  if (baseKey === undefined) {
    const detail = record.baseKey === undefined ? 'no-base-key' : 'wrong-base-key-digest';
    return signed(login, 'BASE_KEY_MISMATCH', detail);
  }
  login.baseKey = baseKey;
  return undefined;
}

function grant(login: LoginCase, source: string): LoginGrant {
  const { around, view, dialect, message, kind } = login;
  const id = around.sessionId(view.record.id);
  const key = login.baseKey && dialect.sessionKey(login.baseKey.key, around.random);
  const targets = provenTargets(view.record, proven(login), login.baseKey);
  const { write: credentials, unsettled } = dialect.prove(message, view.record, targets);
  const record = credentials?.record ?? view.record;
  const signer = { ...signerOf(login), password: answeredUnder(record, unsettled) };
  const detail = credentials?.settled ? SETTLED : unsettled !== 0 ? UNDER_PENDING : undefined;
  const answer: Answer = {
    result: 'OK',
    fields: dialect.fields({ around, sessionId: id, record, key }),
    signer,
    ...(detail !== undefined && { detail }),
  };
  const session: Session = {
    id: id.toString('hex'),
    login: kind,
    signer,
    expiresAt: around.now + around.sessionTtl * 1000,
    terminal: record,
    lastSequence: message.header.sequence,
    told: record.changes.wished,
    wmmp: dialect.session(message, around, key, unsettled),
  };
  return { answer, session, write: loginWrite(login, session, key, source, credentials) };
}

/** The answer that settles a new downlink password, or is the first chance to, is under it. */
function answeredUnder({ changes, downlinkPassword }: TerminalRecord, unsettled: number): Buffer {
  const isOpen = (unsettled & CHANGE_TARGETS.downlink) !== 0;
  return (isOpen && changes.pending?.downlinkPassword) || downlinkPassword;
}

function loginWrite(
  login: LoginCase,
  { id, terminal }: Session,
  key: GrantedKey | undefined,
  address: string,
  credentials: CredentialWrite | undefined,
): LoginWrite {
  return {
    terminalId: terminal.id,
    serial: terminal.serial,
    revision: login.view.record.revision,
    sessionId: id,
    login: login.kind,
    sessionKey: key?.plain,
    replayEntry: entryOf(login),
    address,
    credentials,
  };
}

function signed(login: LoginCase, result: Answer['result'], detail: string): Answer {
  return { result, signer: signerOf(login), detail };
}

/** A response is signed under the IMEI and IMSI that its request was. */
function signerOf(login: LoginCase): Signer {
  const { imei, imsi } = proven(login);
  const suite = login.dialect.suite(login.message);
  return { suite, password: login.view.record.downlinkPassword, imei, imsi };
}

function entryOf({ entry }: LoginCase): string {
  return found(entry);
}

function proven({ authentic }: LoginCase): Authentic {
  return found(authentic);
}

function found<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a rule that needs the digest stands before it in RULES');
  return value;
}
