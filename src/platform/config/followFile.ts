/** A file whose changes hold without a restart. */
import { unwatchFile, watchFile } from 'node:fs';

/** Milliseconds. By looking, not by events: those get lost on network and container file systems. */
const INTERVAL = 1_000;

export interface Follower<T> {
  readonly read: (path: string) => T;
  /** Whether that is what is in use. */
  readonly isHeld: (content: T) => boolean;
  /** Told what `read` makes of a version that is not in use, or that comes after one that could not be used. */
  readonly onContent: (content: T) => void;
  /** Told where `read` or `onContent` throws. */
  readonly onError: (error: unknown) => void;
}

/** @returns a function that ends it */
export function followFile<T>(path: string, follower: Follower<T>): () => void {
  const { read, isHeld, onContent, onError } = follower;
  let wasUnfit = false;
  const look = (): void => {
    clearTimeout(first);
    try {
      const content = read(path);
      if (wasUnfit || !isHeld(content)) onContent(content);
      wasUnfit = false;
    } catch (error) {
      wasUnfit = true;
      onError(error);
    }
  };
  watchFile(path, { interval: INTERVAL, persistent: false }, look);
  // It may have changed since it was read at start, and before the system had a version to tell changes from.
  const first = setTimeout(look, 2 * INTERVAL).unref();
  return () => {
    clearTimeout(first);
    unwatchFile(path, look);
  };
}
