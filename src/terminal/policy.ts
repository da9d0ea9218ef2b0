/** What a device that wants to stay does next: pure rules, so that each is one row in a test. */
import type { ResultName } from '../protocol/results';
import type { Answer } from './answers';
import type { Disconnect } from './session';

export interface Stop {
  readonly kind: 'stop';
  readonly why: string;
}

export interface Reconnect {
  readonly kind: 'reconnect';
  /** Milliseconds. */
  readonly wait: number;
}

export type Next = Stop | Reconnect;

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

/**
 * Milliseconds until the next try. What the gateway asks for is never undercut; on top comes up to a quarter, so
 * that many who were sent away together do not come back together.
 *
 * @param attempt tries since the last success, from 0
 * @param random 0 to 1
 */
export function waitBefore(attempt: number, retryAfter: number | undefined, random: number): number {
  if (retryAfter !== undefined) return Math.round(retryAfter * (1 + random / 4));
  return Math.round(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt) * (0.5 + random / 2));
}

/** After a DISCONNECT. An unsigned one could be anyone's, and only ever means "try later". */
export function afterDisconnect(disconnect: Disconnect, attempt: number, random: number): Next {
  const { signed, reason, retryAfter } = disconnect;
  const later: Next = { kind: 'reconnect', wait: waitBefore(attempt, retryAfter, random) };
  if (!signed) return later;
  switch (reason) {
    case 'superseded':
      return { kind: 'stop', why: 'a newer login of the same terminal has taken its place' };
    case 'suspended':
      return { kind: 'stop', why: 'the terminal has been suspended or retired' };
    case 'protocol-error':
      return { kind: 'stop', why: 'the gateway calls it a protocol error' };
    // One more login tells whether what this device holds is still right.
    case 'identity-changed':
    case 'shutting-down':
    case 'expired':
      return later;
  }
}

/** What goes over by itself. */
const PASSING: ReadonlySet<ResultName> = new Set<ResultName>(['BUSY', 'THROTTLED', 'INTERNAL']);
const MOST_REPLAYS = 3;

/**
 * After an answer to a login that is not OK.
 *
 * @param final whether an unsigned "no" may end it: so before the first login that succeeded, when a person is
 *   better served by the reason, and after the gateway announced that identity or credentials were changed
 * @param attempt tries since the last success, from 0
 */
export function afterLogin(answer: Answer, final: boolean, attempt: number, random: number): Next {
  if (answer.kind === 'signed') {
    // The next login is a new frame, which is all that a REPLAY asks for.
    return answer.result === 'REPLAY' && attempt < MOST_REPLAYS
      ? { kind: 'reconnect', wait: waitBefore(attempt, undefined, random) }
      : { kind: 'stop', why: answer.result };
  }
  const passing = answer.kind === 'unsigned' && PASSING.has(answer.result);
  if (final && !passing)
    return { kind: 'stop', why: answer.kind === 'unsigned' ? answer.result : answer.text };
  return { kind: 'reconnect', wait: waitBefore(attempt, retryAfterOf(answer), random) };
}

/** After the answer to a heartbeat; undefined: go on beating. */
export function afterHeartbeat(answer: Answer, random: number): Next | undefined {
  if (answer.kind === 'signed') {
    return answer.result === 'SUSPENDED' ? { kind: 'stop', why: answer.result } : undefined;
  }
  if (answer.kind === 'unsigned' && PASSING.has(answer.result)) return undefined;
  return { kind: 'reconnect', wait: waitBefore(0, retryAfterOf(answer), random) };
}

function retryAfterOf(answer: Answer): number | undefined {
  return answer.kind === 'unsigned' ? answer.retryAfter : undefined;
}
