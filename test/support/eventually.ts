/** Waiting for what is to come about, however slow the machine is. */
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 240_000;

type Answer<T> = T | undefined | false;

/** Asks until there is an answer that is neither undefined nor false. */
export async function eventually<T>(what: string, look: () => Answer<T> | Promise<Answer<T>>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(20);
  }
}
