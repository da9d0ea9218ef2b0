/**
 * LOGIN of either dialect and AUTH_PROOF from record to commit.
 *
 * A record from the cache may grant, since the committing statement checks it again; it never refuses: before any
 * refusal the terminal is read afresh. So a change in SQL holds at once, an unknown serial costs the same lookup as
 * a wrong digest, and while the database is away the answer is BUSY, right or wrong.
 */
import type { Decoded } from '../../protocol/decode';
import { serialText } from '../../protocol/header';
import { decideLogin, type LoginDecision, type LoginGrant } from '../flows/login';
import type { Connection } from '../listener/connection';
import type { Answer, TerminalView } from '../model';
import { DatabaseAway } from '../store/database';
import { admitted, busy, DATABASE_AWAY, LOOK_AGAIN_AFTER, pause, type PipelineContext } from './context';

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
  const serial = serialText(message.header.serial) ?? '';
  // The first proof uses the challenge up, whatever comes of it.
  const { challenge } = connection;
  connection.challenge = undefined;
  const away = turnedAway(context, serial, connection.address);
  if (away !== undefined) return { answer: away, view: undefined };
  const judge = (view: TerminalView) =>
    decideLogin(message, view, context.around(), connection.address, challenge);
  const outcome = await admitted(context, () => settled(context, connection, serial, judge));
  if (!('answer' in outcome)) return { answer: outcome, view: undefined };
  count(context, outcome.answer, serial, connection.address);
  return outcome;
}

async function settled(
  context: PipelineContext,
  connection: Connection,
  serial: string,
  judge: (view: TerminalView) => LoginDecision,
): Promise<LoginOutcome> {
  try {
    return await settle(context, connection, serial, judge);
  } catch (error) {
    if (!(error instanceof DatabaseAway)) throw error;
    return { answer: busy(context, DATABASE_AWAY), view: undefined };
  }
}

/** Before anything is looked up: no database, or too many failed attempts. */
export function turnedAway(context: PipelineContext, serial: string, address: string): Answer | undefined {
  if (!context.store.available()) return busy(context, DATABASE_AWAY);
  const wait = context.throttle.delay(serial, address, context.around().now);
  if (wait <= 0) return undefined;
  return { result: 'THROTTLED', fields: { retryAfter: wait }, detail: 'failed-attempts' };
}

/** Only AUTH_FAILED is a failed attempt: whoever gets another answer knows the password. */
function count(
  { throttle, around }: PipelineContext,
  { result }: Answer,
  serial: string,
  address: string,
): void {
  if (result === 'AUTH_FAILED') throttle.failed(serial, address, around().now);
  if (result === 'OK') throttle.succeeded(serial, address);
}

async function settle(
  context: PipelineContext,
  connection: Connection,
  serial: string,
  judge: (view: TerminalView) => LoginDecision,
): Promise<LoginOutcome> {
  const since = context.around().now;
  const cached = context.cache.get(serial);
  if (cached !== undefined) {
    const view = { record: cached, row: undefined };
    const decision = judge(view);
    if ('granted' in decision && (await commit(context, connection, decision.granted, since))) {
      return { answer: decision.granted.answer, view };
    }
  }
  for (const wait of LOOK_AGAIN_AFTER) {
    await pause(wait);
    const view = await context.store.find(serial);
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
  const { committed, tookOver } = await context.store.login(write);
  if (!committed) return false;
  if (tookOver) context.store.nudge();
  connection.session = session;
  connection.hasLoggedIn = true;
  context.sessionBegan(connection, since);
  return true;
}
