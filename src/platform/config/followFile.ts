/** A file whose changes hold without a restart. */
import { unwatchFile, watchFile } from 'node:fs';

/** Milliseconds. By looking, not by events: those get lost on network and container file systems. */
const INTERVAL = 1_000;

export interface Follower<T> {
  readonly read: (path: string) => T;
  /** Whether that is what is in use: asked once, of what changed between the reading at start and now. */
  readonly isHeld: (content: T) => boolean;
  /** Told what `read` makes of every version of the file. */
  readonly onContent: (content: T) => void;
  /** Told where `read` or `onContent` throws. */
  readonly onError: (error: unknown) => void;
}

/** @returns a function that ends it */
export function followFile<T>(path: string, follower: Follower<T>): () => void {
  const { read, isHeld, onContent, onError } = follower;
  const look = (isWanted: (content: T) => boolean): void => {
    try {
      const content = read(path);
      if (isWanted(content)) onContent(content);
    } catch (error) {
      onError(error);
    }
  };
  const onChange = (): void => look(() => true);
  watchFile(path, { interval: INTERVAL, persistent: false }, onChange);
  // By then the system has the version that changes are told from.
  const first = setTimeout(() => look((content) => !isHeld(content)), INTERVAL).unref();
  return () => {
    clearTimeout(first);
    unwatchFile(path, onChange);
  };
}
