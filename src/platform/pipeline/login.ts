/**
 * LOGIN of either dialect and AUTH_PROOF from record to commit.
 *
 * A record from the cache may grant, since the committing statement checks it again; it never refuses: before any
 * refusal the terminal is read afresh. So a change in SQL holds at once, an unknown serial costs the same lookup as
 * a wrong digest, and while the database is away the answer is BUSY, right or wrong. The one exception is a serial
 * that nobody had a moment ago (lookUp.ts).
 */
import type { Decoded } from '../../protocol/decode';
import { decideLogin, type LoginDecision, type LoginGrant } from '../flows/login';
import type { Verdict } from '../flows/throttle';
import type { Connection } from '../listener/connection';
import type { Answer, TerminalView } from '../model';
import { DatabaseAway } from '../store/database';
import {
  admitted,
  busy,
  DATABASE_AWAY,
  FAILED_ATTEMPTS,
  LOOK_AGAIN_AFTER,
  type Aside,
  type PipelineContext,
} from './context';
import { lookUp } from './lookUp';

export interface LoginOutcome {
  readonly answer: Answer;
  /** Who the log line is about, as far as it is known. */
  readonly view: TerminalView | undefined;
}

export async function login(
  context: PipelineContext,
  message: Decoded,
  connection: Connection,
): Promise<LoginOutcome> {
  const serial = message.header.serialText ?? '';
  const { challenge } = connection;
  // The first proof uses the challenge up, whatever comes of it; a LOGIN does not.
  if (message.command === 'AUTH_PROOF') connection.challenge = undefined;
  if (!context.store.available()) return { answer: busy(context, DATABASE_AWAY), view: undefined };
  const { throttle, now } = context;
  const judged = throttle.enter(serial, connection.source, now());
  if (typeof judged === 'number') return { answer: throttled(judged), view: undefined };
  const judge = (view: TerminalView) =>
    decideLogin(message, view, context.around(), connection.address, challenge);
  let verdict: Verdict = 'neither';
  try {
    const outcome = await admitted(context, (aside) => settle(context, connection, serial, judge, aside));
    if (!('answer' in outcome)) return { answer: outcome, view: undefined };
    verdict = verdictOf(outcome.answer);
    return outcome;
  } catch (error) {
    if (!(error instanceof DatabaseAway)) throw error;
    return { answer: busy(context, DATABASE_AWAY), view: undefined };
  } finally {
    throttle.leave(judged, verdict, now());
  }
}

/** Only AUTH_FAILED is a failed attempt: whoever gets another answer knows the password. */
function verdictOf({ result }: Answer): Verdict {
  if (result === 'AUTH_FAILED') return 'failed';
  return result === 'OK' ? 'passed' : 'neither';
}

/** @param wait milliseconds */
export function throttled(wait: number): Answer {
  return { result: 'THROTTLED', fields: { retryAfter: Math.ceil(wait) }, detail: FAILED_ATTEMPTS };
}

async function settle(
  context: PipelineContext,
  connection: Connection,
  serial: string,
  judge: (view: TerminalView) => LoginDecision,
  aside: Aside,
): Promise<LoginOutcome> {
  const since = context.now();
  const cached = context.cache.get(serial);
  if (cached !== undefined) {
    const view = { record: cached, row: undefined };
    const decision = judge(view);
    if ('granted' in decision && (await commit(context, connection, decision.granted, since))) {
      return { answer: decision.granted.answer, view };
    }
  }
  for (const wait of LOOK_AGAIN_AFTER) {
    await aside(wait);
    const view = await lookUp(context, serial);
    const decision = judge(view ?? { record: context.decoy, row: undefined });
    if (view === undefined) return { answer: { result: 'AUTH_FAILED', detail: 'unknown-serial' }, view };
    context.cache.set(view.record);
    if ('refused' in decision) return { answer: decision.refused, view };
    if (await commit(context, connection, decision.granted, since))
      return { answer: decision.granted.answer, view };
  }
  return { answer: busy(context, 'terminal-locked'), view: undefined };
}

/** @returns false where the record was not up to date any more, or somebody holds the row */
async function commit(
  context: PipelineContext,
  connection: Connection,
  { write, session }: LoginGrant,
  since: number,
): Promise<boolean> {
  connection.isCommitting = true;
  try {
    const { committed, tookOver } = await context.store.login(write);
    if (!committed) return false;
    if (tookOver) context.store.nudge();
  } finally {
    connection.isCommitting = false;
  }
  connection.begin(session);
  context.sessionBegan(connection, since);
  return true;
}
