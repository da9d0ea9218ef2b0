/** The gateway's rooms in a row for one terminal, without sockets and database: framer, decode, verify, decide. */
import { decideChallenge } from '../../src/platform/flows/challenge';
import { decideChange, decideConfirm } from '../../src/platform/flows/credentialChange';
import {
  answersNotice,
  authenticate,
  decideHeartbeat,
  decideLogout,
  decideSessionKey,
  isAuthentic,
} from '../../src/platform/flows/inSession';
import { decideLogin } from '../../src/platform/flows/login';
import { replayEntry } from '../../src/platform/flows/replay';
import { flawOf } from '../../src/platform/flows/wmmp/requests';
import {
  NO_CHANGES,
  type Answer,
  type Challenge,
  type Session,
  type Surroundings,
  type TerminalRecord,
} from '../../src/platform/model';
import { decode, type Message } from '../../src/protocol/decode';
import { isFault } from '../../src/protocol/faults';
import { Framer, type FramerEvent } from '../../src/protocol/framer';
import { isWmmp } from '../../src/protocol/header';
import { headerJudge } from '../../src/protocol/judge';
import { decodeWmmp, type WmmpMessage } from '../../src/protocol/wmmp/decode';
import type { Terminal } from './oracle';

export function recordOf(terminal: Terminal, extra: Partial<TerminalRecord> = {}): TerminalRecord {
  const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = terminal;
  return {
    ...{ id: 1, serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey },
    ...{ status: 'active', leastLogin: 'wmmp3', changes: NO_CHANGES, msisdn: '+4912345678' },
    ...{ packetsRevokedAt: 0, revision: 1 },
    ...extra,
  };
}

export const AROUND: Surroundings = {
  now: 1_800_000_008_000,
  timestampWindow: 300,
  sessionTtl: 3600,
  heartbeatInterval: 60,
  plainTexts: true,
  packetKeys: () => new Map(),
  random: (size) => Buffer.alloc(size, 0x5a),
  sessionId: () => Buffer.from('13ddb37c3eac2743', 'hex'),
};

/** What a frame finds when it comes. */
export interface Scene {
  readonly record: TerminalRecord;
  readonly around: Surroundings;
  readonly challenge?: Challenge | undefined;
  /** Undefined: nobody has logged in. Made anew for every frame, as deciders move its sequence. */
  readonly session: (() => Session) | undefined;
}

/** A session of version 4.0, or of WMMP 3.0 with the timestamp that its LOGIN was answered with. */
export function sessionOf(
  record: TerminalRecord,
  { suite = 1, lastSequence = 0, wmmp }: { suite?: number; lastSequence?: number; wmmp?: number } = {},
): Session {
  const { imei, imsi, downlinkPassword: password } = record;
  return {
    id: '13ddb37c3eac2743',
    login: wmmp === undefined ? 'md5' : 'wmmp3',
    signer: { suite: suite === 2 ? 2 : 1, password, imei, imsi },
    expiresAt: Number.MAX_SAFE_INTEGER,
    terminal: record,
    lastSequence,
    told: record.changes.wished,
    ...(wmmp !== undefined && {
      wmmp: {
        ...{ version: 0x0300, timestamp: wmmp, sessionKey: undefined, unsettled: 0 },
        ...{ wish: 'open', asked: undefined, leaving: false },
      },
    }),
  };
}

/** What became of every frame in a stream: a result, `fault <name>`, or what a response came to. */
export function outcomes(scene: Scene, ...chunks: readonly Buffer[]): string[] {
  const framer = new Framer(headerJudge(4096));
  return chunks.flatMap((chunk) => framer.push(chunk)).map((event) => outcomeOf(scene, event));
}

function outcomeOf(scene: Scene, event: FramerEvent): string {
  if (event.kind === 'refused') return `fault ${event.fault.name}`;
  const wmmp = isWmmp(event.header.version);
  const message = wmmp ? decodeWmmp(event.header, event.bytes) : decode(event.header, event.bytes);
  if (isFault(message)) return `fault ${message.name}`;
  return 'fixed' in message ? wmmpOutcome(scene, message) : version4Outcome(scene, message);
}

/** Whoever has the password is told so by a signed answer. */
export const TAKEN: ReadonlySet<string> = new Set([
  ...['OK', 'WAIT_FOR_SMS', 'BINDING_MISMATCH', 'SUSPENDED', 'CLOCK_SKEW', 'REPLAY', 'BASE_KEY_MISMATCH'],
  ...['CHANGE_REFUSED', 'heard'],
]);

function loginOutcome({ record, around, challenge }: Scene, message: Message | WmmpMessage): string {
  const decision = decideLogin(message, { record, row: undefined }, around, '192.0.2.1', challenge);
  return 'refused' in decision ? decision.refused.result : decision.granted.answer.result;
}

function wmmpOutcome(scene: Scene, message: WmmpMessage): string {
  if (message.command === 'LOGIN') return loginOutcome(scene, message);
  if (message.command === 'REGISTER') return 'registration';
  const session = scene.session?.();
  if (session?.wmmp === undefined) return 'NOT_LOGGED_IN';
  if (flawOf(message, session, session.wmmp) !== undefined) return 'AUTH_FAILED';
  return message.digest === undefined ? 'unsigned' : 'OK';
}

function version4Outcome(scene: Scene, message: Message): string {
  const { record, around } = scene;
  if (message.command === 'AUTH_CHALLENGE') {
    return decideChallenge(message, record, around, Buffer.alloc(16)).challenge ? 'challenged' : 'decoy';
  }
  if (message.command === 'LOGIN' || message.command === 'AUTH_PROOF') return loginOutcome(scene, message);
  const session = scene.session?.();
  if (session === undefined) return 'NOT_LOGGED_IN';
  if (message.isResponse) return answersNotice(message, session, around.now) ? 'heard' : 'dropped';
  return sessionOutcome(scene, message, session).result;
}

const DECIDERS = {
  SESSION_KEY: decideSessionKey,
  LOGOUT: decideLogout,
  CREDENTIAL_CHANGE: decideChange,
  CREDENTIAL_CONFIRM: decideConfirm,
} as const;

function sessionOutcome({ record, around }: Scene, message: Message, session: Session): Answer {
  if (message.command === 'HEARTBEAT') return decideHeartbeat(message, session, around);
  const authentic = authenticate(message, session, around);
  if (!isAuthentic(authentic)) return authentic;
  const entry = replayEntry(authentic.timestamp, message.digest ?? Buffer.alloc(0));
  const decide = DECIDERS[message.command as keyof typeof DECIDERS];
  return decide({ message, session, authentic, around, record, entry }).answer;
}
