/** A file whose changes hold without a restart. */
import { unwatchFile, watchFile } from 'node:fs';

/** Milliseconds. By looking, not by events: those get lost on network and container file systems. */
const INTERVAL = 1_000;

/**
 * @param isKnown whether this content is what the caller holds: it was read before the file is followed, and what
 *   changed in between would not be noticed
 * @param onContent told what `read` makes of every version of the file; where either throws, onError is told
 * @returns a function that ends it
 */
export function followFile<T>(
  path: string,
  read: (path: string) => T,
  isKnown: (content: T) => boolean,
  onContent: (content: T) => void,
  onError: (error: unknown) => void,
): () => void {
  const look = (isNews: (content: T) => boolean): void => {
    try {
      const content = read(path);
      if (isNews(content)) onContent(content);
    } catch (error) {
      onError(error);
    }
  };
  const onChange = (): void => look(() => true);
  watchFile(path, { interval: INTERVAL, persistent: false }, onChange);
  look((content) => !isKnown(content));
  return () => unwatchFile(path, onChange);
}
