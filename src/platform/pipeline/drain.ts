/** Sending everybody away before the gateway ends, so that they come back spread over time. */
import { encodeDisconnect, encodeUnsignedDisconnect } from '../flows/answer';
import type { Connection } from '../listener/connection';

const TICK = 100;
/** Connections told in one tick however few there are, so that a small fleet need not wait. */
const LEAST_A_TICK = 200;
/** Milliseconds that the last answers are given to get out. */
const LAST_ANSWERS = 3_000;

export interface DrainOptions {
  readonly connections: ReadonlySet<Connection>;
  /** Seconds. */
  readonly over: number;
  /** By this process's own clock. */
  readonly now: () => number;
  /** What time it is (../clock.ts). */
  readonly clock: () => number;
}

/** Resolves when every connection is closed, or when the time for it is up. */
export async function drain({ connections, over, now, clock }: DrainOptions): Promise<void> {
  const waiting = [...connections];
  const perTick = Math.max(LEAST_A_TICK, Math.ceil((waiting.length * TICK) / (over * 1000 || 1)));
  for (let from = 0; from < waiting.length; from += perTick) {
    for (const connection of waiting.slice(from, from + perTick)) sendHome(connection, over, clock);
    if (from + perTick < waiting.length) await sleep(TICK);
  }
  const patience = now() + LAST_ANSWERS;
  while (connections.size > 0 && now() < patience) await sleep(20);
}

function sendHome(connection: Connection, over: number, clock: () => number): void {
  const retryAfter = 1 + Math.floor(Math.random() * Math.max(1, over) * 1000);
  connection.sendAway(() => {
    const { session, dialect } = connection;
    // It knows no DISCONNECT.
    if (dialect === 'wmmp') return undefined;
    const sequence = connection.nextSequence();
    return session === undefined
      ? encodeUnsignedDisconnect(sequence, 'shutting-down', retryAfter)
      : encodeDisconnect(session, sequence, 'shutting-down', clock(), retryAfter);
  });
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
