/** Waiting, in milliseconds. */

export const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for that, but not longer. @returns undefined: it was longer */
export async function within<T>(ms: number, what: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  const first = await Promise.race([what, late]);
  clearTimeout(timer);
  return first;
}
