/** A file whose changes hold without a restart. */
import { unwatchFile, watchFile } from 'node:fs';

/** Milliseconds. By looking, not by events: those get lost on network and container file systems. */
const INTERVAL = 1_000;

/**
 * @param onContent told what `read` makes of every version of the file; where either throws, onError is told
 * @returns a function that ends it
 */
export function followFile<T>(
  path: string,
  read: (path: string) => T,
  onContent: (content: T) => void,
  onError: (error: unknown) => void,
): () => void {
  const look = (): void => {
    try {
      onContent(read(path));
    } catch (error) {
      onError(error);
    }
  };
  watchFile(path, { interval: INTERVAL, persistent: false }, look);
  return () => unwatchFile(path, look);
}
