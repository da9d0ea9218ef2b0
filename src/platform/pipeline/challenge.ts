/** AUTH_CHALLENGE: nothing is remembered but on its own connection, and nothing is written. */
import type { Message } from '../../protocol/decode';
import { decideChallenge } from '../flows/challenge';
import type { Connection } from '../listener/connection';
import type { Answer } from '../model';
import { DatabaseAway } from '../store/database';
import { admitted, busy, DATABASE_AWAY, type PipelineContext } from './context';
import { lookUp } from './lookUp';
import { throttled } from './login';

export async function challenge(
  context: PipelineContext,
  message: Message,
  connection: Connection,
): Promise<Answer> {
  connection.challenge = undefined;
  const serial = message.header.serialText ?? '';
  if (!context.store.available()) return busy(context, DATABASE_AWAY);
  const wait = context.throttle.delay(serial, connection.source, context.now());
  if (wait > 0) return throttled(wait);
  return admitted(context, () => challenged(context, message, connection, serial));
}

async function challenged(
  context: PipelineContext,
  message: Message,
  connection: Connection,
  serial: string,
): Promise<Answer> {
  try {
    // Always from the database: a code under a base key of yesterday would make the platform look false, and a
    // cached record would tell by its speed which serials exist.
    const view = await lookUp(context, serial);
    const decided = decideChallenge(message, view?.record, context.around(), context.decoyKey);
    connection.challenge = decided.challenge;
    return decided.answer;
  } catch (error) {
    if (!(error instanceof DatabaseAway)) throw error;
    return busy(context, DATABASE_AWAY);
  }
}
