/** What a load generator's threads are told, and how often a terminal may log in. */
import type { Target } from './link';
import type { PackedTally } from './tally';
import type { Crew } from './stock';

/** The gateway throttles a terminal at more than 64 within its window for timestamps (docs/protocol.md, "Sessions"). */
export const LOGINS_A_WINDOW = 60;
/** Seconds: both halves of the window. */
export const WINDOW = 600;

/** How often each terminal may log in during a run. @param seconds how long it takes */
export function loginsAllowed(seconds: number): number {
  return LOGINS_A_WINDOW * Math.max(1, Math.ceil(seconds / WINDOW));
}

/**
 * Why so many logins cannot be had from so many terminals; undefined: they can.
 *
 * @param logins in all, those before the measurement included
 * @param seconds that they take
 */
export function tooManyLogins(logins: number, terminals: number, seconds: number): string | undefined {
  const inWindow = Math.ceil(seconds > WINDOW ? (logins * WINDOW) / seconds : logins);
  if (inWindow <= terminals * LOGINS_A_WINDOW) return undefined;
  const each = Math.ceil(inWindow / terminals);
  const needed = Math.ceil(inWindow / LOGINS_A_WINDOW);
  return (
    `${inWindow} logins within ${WINDOW / 60} minutes by ${terminals} terminals are ${each} each, and the gateway ` +
    `takes no more than ${LOGINS_A_WINDOW}: --terminals ${needed} or more`
  );
}

/** Of one thread, from its start. */
export interface ThreadPlan {
  readonly crew: Crew;
  readonly target: Target;
  /** From 0; has source addresses of its own. */
  readonly thread: number;
  readonly threads: number;
  /** Whether source addresses and ports are named, in place of the kernel's choice. */
  readonly chooseSource: boolean;
  /** Whether connections stay after an answer that lets them. */
  readonly standing: boolean;
  /** Every which OK answer is verified; 0: none. */
  readonly verifyEvery: number;
  /** Milliseconds for an answer, connecting included. */
  readonly timeout: number;
  /** Connections at once. */
  readonly room: number;
  /** How often each terminal may log in. */
  readonly allowed: number;
  /** One 32-bit count of settled logins a thread. */
  readonly progress: SharedArrayBuffer;
}

/** One run of all threads. Times are of clock.ts, rates per second; shares are this thread's. */
export type RunPlan = {
  readonly startAt: number;
  /** What began earlier is not counted. */
  readonly measureFrom: number;
} & (
  | {
      readonly kind: 'closed';
      readonly concurrency: number;
      readonly endAt: number | undefined;
      readonly logins: number | undefined;
    }
  | { readonly kind: 'open'; readonly rate: number; readonly logins: number }
  | { readonly kind: 'storm'; readonly within: number; readonly giveUpAt: number }
  | { readonly kind: 'beats'; readonly every: number }
);

export type ToThread =
  | { readonly kind: 'fill'; readonly rounds: number }
  | { readonly kind: 'run'; readonly run: RunPlan }
  /** Ends a run of heartbeats. */
  | { readonly kind: 'stop' };

export type FromThread = { readonly kind: 'filled' } | { readonly kind: 'done'; readonly tally: PackedTally };
