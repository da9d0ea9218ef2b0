/** Requests of a session that stands, from verdict to commit. */
import type { Message } from '../../protocol/decode';
import { decideChange, decideConfirm } from '../flows/credentialChange';
import {
  adopt,
  authenticate,
  authenticUnder,
  decideLogout,
  decideSessionKey,
  isAuthentic,
  refuseByRow,
  type RequestCase,
  type RequestDecision,
  type SessionCase,
} from '../flows/inSession';
import { replayEntry } from '../flows/replay';
import type { Answer, Session, SessionRow, SessionWrite } from '../model';
import { DatabaseAway } from '../store/database';
import { busy, DATABASE_AWAY, LOOK_AGAIN_AFTER, pause, type PipelineContext } from './context';

type Decide = (request: RequestCase) => RequestDecision;

const DECIDERS: Readonly<Partial<Record<Message['command'], Decide>>> = {
  SESSION_KEY: decideSessionKey,
  LOGOUT: decideLogout,
  CREDENTIAL_CHANGE: decideChange,
  CREDENTIAL_CONFIRM: decideConfirm,
};

/** Commits before it answers. The session passed in is the connection's. */
export async function request(context: PipelineContext, message: Message, session: Session): Promise<Answer> {
  const decide = DECIDERS[message.command];
  const around = context.around();
  const verdict = authenticate(message, session, around);
  if (!isAuthentic(verdict)) return verdict;
  if (decide === undefined) throw new Error(`no decider for ${message.command}`);
  const entry = replayEntry(verdict.timestamp, message.digest ?? Buffer.alloc(0));
  const first = session.terminal;
  return settle(context, session, entry, (base) => {
    // What was the pending password may be the current one by now, and what was the current one gone: a confirmation
    // of which nobody knew what became of it.
    const isSame = base.record === first;
    const authentic = isSame ? verdict : authenticUnder(message, base.record, around.now);
    if (authentic === undefined) return { answer: { result: 'AUTH_FAILED', detail: 'wrong-digest' } };
    return decide({ ...base, message, authentic });
  });
}

/**
 * Decides for a session and commits, as often as it takes.
 *
 * @param entry replay entry of the frame that it is about
 */
export async function settle(
  context: PipelineContext,
  session: Session,
  entry: string,
  decide: (base: SessionCase) => RequestDecision,
): Promise<Answer> {
  try {
    return await settleOnce(context, session, entry, decide);
  } catch (error) {
    if (!(error instanceof DatabaseAway)) throw error;
    return error.unsure ? { result: 'INTERNAL', detail: DATABASE_AWAY } : busy(context, DATABASE_AWAY);
  }
}

/** As with a login, the record at hand may grant, since the commit checks it; it refuses only where it is fresh. */
async function settleOnce(
  context: PipelineContext,
  session: Session,
  entry: string,
  decide: (base: SessionCase) => RequestDecision,
): Promise<Answer> {
  const judge = (row?: SessionRow): RequestDecision => {
    const base = { session, around: context.around(), record: session.terminal, entry };
    const refused = row && refuseByRow(base, row);
    return refused ? { answer: refused } : decide(base);
  };
  const first = judge();
  if ('write' in first && (await commit(context, session, first.write))) return first.answer;
  for (const wait of LOOK_AGAIN_AFTER) {
    await pause(wait);
    const view = await context.store.find(session.terminal.serial);
    if (view === undefined) return { result: 'NOT_LOGGED_IN', detail: 'unknown-serial' };
    if (view.row.sessionId === session.id) adopt(session, view.record);
    const decision = judge(view.row);
    if (!('write' in decision)) return decision.answer;
    if (await commit(context, session, decision.write)) return decision.answer;
  }
  return busy(context, 'terminal-locked');
}

/** @returns false where the record was not up to date any more, or somebody holds the row */
async function commit(context: PipelineContext, session: Session, write: SessionWrite): Promise<boolean> {
  if (!(await context.store.change(write)).committed) return false;
  const { credentials } = write;
  if (credentials === undefined) return true;
  const { record, settled } = credentials;
  adopt(session, record);
  session.told &= ~settled;
  context.cache.set(record);
  if (credentials.text !== undefined) context.texted();
  return true;
}
