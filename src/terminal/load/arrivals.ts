/** When terminals arrive: pure functions of a number and a rate. All times are milliseconds. */

/** When the n-th (from 0) of evenly spaced arrivals is due. @param rate per second */
export function arrivalAt(start: number, n: number, rate: number): number {
  return start + (n * 1000) / rate;
}

/** How many arrivals are due before `end`. @param rate per second */
export function arrivalsBefore(start: number, end: number, rate: number): number {
  if (end <= start) return 0;
  // Rounded first: 0.3 s at 10/s are three arrivals, not the four that binary fractions make of them.
  return Math.ceil(Math.round((end - start) * rate * 1000) / 1e6);
}

/** Rates of a ramp, evenly spaced, both ends included. One step is the first rate alone. */
export function rampRates(from: number, to: number, steps: number): number[] {
  if (steps === 1) return [from];
  return Array.from({ length: steps }, (_, i) => from + ((to - from) * i) / (steps - 1));
}

/**
 * When one thread's terminals of a storm connect, so that those of all threads together are evenly spaced.
 *
 * @param i of `count` terminals of this thread
 * @param thread of `threads`
 */
export function stormArrival(
  { start, within }: { readonly start: number; readonly within: number },
  { i, count, thread, threads }: Record<'i' | 'count' | 'thread' | 'threads', number>,
): number {
  return start + (within * (i + thread / threads)) / count;
}

/** Cuts `total` into parts that differ by one at most. @returns first and count of each */
export function slices(total: number, parts: number): { first: number; count: number }[] {
  const edge = (i: number): number => Math.floor((total * i) / parts);
  return Array.from({ length: parts }, (_, i) => ({ first: edge(i), count: edge(i + 1) - edge(i) }));
}
