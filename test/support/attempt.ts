/** Frames under the throttle's judgement. */
import type { Judged, Throttle, Verdict } from '../../src/platform/flows/throttle';

/** As `enter` hands it out, whatever delays stand. */
export const judged = (serial: string, source: string): Judged => ({
  of: { serial, source },
  key: `${serial} ${source}`,
});

/** One frame. @returns milliseconds that it was told to wait, 0 where it was judged */
export function attempt(
  throttle: Throttle,
  serial: string,
  source: string,
  now: number,
  verdict: Verdict,
): number {
  const entered = throttle.enter(serial, source, now);
  if (typeof entered === 'number') return entered;
  throttle.leave(entered, verdict, now);
  return 0;
}
