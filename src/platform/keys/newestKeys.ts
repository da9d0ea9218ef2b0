/** The newest key of each kind, for who watches the age of keys. */
import { KEY_KINDS, readKeyInfo, type KeyInfo } from './keyFile';

/** @returns a function that reads the file again; one that cannot be read leaves what was read before */
export function newestKeys(path: string): () => readonly KeyInfo[] {
  let newest: readonly KeyInfo[] = [];
  return () => {
    try {
      const all = readKeyInfo(path);
      newest = KEY_KINDS.flatMap((kind) => all.filter((key) => key.kind === kind).slice(-1));
    } catch {
      // Who follows the file says what is wrong with it (config/followFile.ts).
    }
    return newest;
  };
}
