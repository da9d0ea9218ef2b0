/** One monotonic clock for all threads of a process: performance.now() counts from each thread's own start. */

const SHIFT = ((): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6 - performance.now();
})();

/** Milliseconds, with fractions, since a moment that all threads share. */
export function clock(): number {
  return performance.now() + SHIFT;
}
