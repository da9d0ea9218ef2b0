/** What an attempt to log in can come to: the gateway's results by code, and what happens without an answer. */
import { resultName, RESULTS } from '../../protocol/results';

/** Result codes are one byte, of which the protocol uses the lower sixteen. */
const CODES = 16;

export const OK = RESULTS.OK.code;
export const AUTH_FAILED = RESULTS.AUTH_FAILED.code;

/** Nobody listens. */
export const UNREACHABLE = CODES;
/** Closed or reset before the answer. */
export const LOST = CODES + 1;
/** No answer in time. */
export const SILENT = CODES + 2;
/** An answer that is none: not a frame, to another request, or its digest is wrong. */
export const UNBELIEVED = CODES + 3;

export const OUTCOMES = CODES + 4;

const NAMES: Readonly<Record<number, string>> = {
  [UNREACHABLE]: 'connection refused',
  [LOST]: 'connection lost',
  [SILENT]: 'no answer',
  [UNBELIEVED]: 'bad answer',
};

/** `AUTH_FAILED`, `connection lost`, … */
export function outcomeName(outcome: number): string {
  return NAMES[outcome] ?? resultName(outcome) ?? `result ${outcome}`;
}

/** Whether the gateway asks the terminal to come again after RETRY_AFTER. */
export function isLater(outcome: number): boolean {
  return outcome === RESULTS.BUSY.code || outcome === RESULTS.THROTTLED.code;
}

/** Whether it says nothing about the terminal, which may try again. */
export function isNoAnswer(outcome: number): boolean {
  return outcome === UNREACHABLE || outcome === LOST || outcome === SILENT;
}
