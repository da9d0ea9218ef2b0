/** What the flows of the pipeline work with; put together once a process, in gate.ts. */
import type { Connection } from '../listener/connection';
import type { Registry } from '../listener/registry';
import type { RecordCache } from '../store/recordCache';
import type { Committed } from '../store/sessions';
import type { Strangers } from '../store/strangers';
import type { FreshView } from '../store/terminals';
import type { Answer, LoginWrite, SessionWrite, Surroundings, TerminalRecord } from '../model';
import type { Admission } from '../flows/admission';
import type { Throttle } from '../flows/throttle';

/** The store as the flows see it. Every call may throw DatabaseAway. */
export interface Store {
  available(): boolean;
  /** Milliseconds that `find` takes now; undefined: none has succeeded of late. */
  readonly lookupTime: number | undefined;
  find(serial: string): Promise<FreshView | undefined>;
  byIds(ids: readonly number[]): Promise<FreshView[]>;
  login(write: LoginWrite): Promise<Committed>;
  change(write: SessionWrite): Promise<Committed>;
  detach(session: { terminalId: number; sessionId: string }): Promise<void>;
  expire(session: { terminalId: number; sessionId: string }): Promise<void>;
  /** Other gateways are told that they were taken over from. */
  nudge(): void;
}

export interface PipelineContext {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly strangers: Strangers;
  readonly registry: Registry;
  readonly throttle: Throttle;
  readonly admission: Admission;
  readonly decoy: TerminalRecord;
  /** 32 bytes that nobody knows. */
  readonly decoyKey: Buffer;
  /** Milliseconds by this process's own clock: for how long something takes. What time it is stands in `around`. */
  readonly now: () => number;
  readonly around: () => Surroundings;
  /** A session begins on a connection, its commit done. @param since when its login was first looked at */
  readonly sessionBegan: (connection: Connection, since: number) => void;
  /** A text for somebody has been committed to the outbox. */
  readonly texted: () => void;
  /** Milliseconds, for BUSY: spread, so that those who are turned away do not come back together. */
  readonly retryAfter: () => number;
}

/**
 * Milliseconds before each further look at the database, before a frame is given up as one about a terminal that
 * others keep changing: whoever holds its row has it only for a moment, as a rule.
 */
export const LOOK_AGAIN_AFTER: readonly number[] = [0, 5, 50, 250, 1000];

export async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function busy(context: PipelineContext, detail: string): Answer {
  return { result: 'BUSY', fields: { retryAfter: context.retryAfter() }, detail };
}

/** Detail of a BUSY that is about how many others are at the door. */
export const LATER_TURN = 'later-turn';
/** Detail of a BUSY that every terminal gets now. */
export const DATABASE_AWAY = 'database-away';
/** Detail of a THROTTLED that counts failed attempts. */
export const FAILED_ATTEMPTS = 'failed-attempts';

/** Pauses so many milliseconds, which do not count as the database's. */
export type Aside = (milliseconds: number) => Promise<void>;

/**
 * Works on a login, or a challenge, where there is room for one more.
 *
 * @returns what `work` comes to; BUSY with a turn of its own where there is no room
 */
export async function admitted<T>(
  { admission, now }: PipelineContext,
  work: (aside: Aside) => Promise<T>,
): Promise<T | Answer> {
  const ticket = admission.enter(now());
  if (typeof ticket === 'number')
    return { result: 'BUSY', fields: { retryAfter: ticket }, detail: LATER_TURN };
  const aside: Aside = async (milliseconds) => {
    if (milliseconds === 0) return;
    admission.stepAside(ticket);
    await pause(milliseconds);
    admission.stepBack(ticket, now());
  };
  try {
    return await work(aside);
  } finally {
    admission.leave(ticket, now());
  }
}
