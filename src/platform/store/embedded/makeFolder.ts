import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from './errors';

/**
 * Makes a folder and those above it that are missing. Not mkdir's own `recursive`: where a folder is there, and
 * nothing can be made in it because the system says ENOENT, as in /proc, Node tries for ever.
 */
export function makeFolder(path: string): void {
  if (failureOf(path) === undefined) return;
  const above = dirname(path);
  if (above !== path) makeFolder(above);
  const failure = failureOf(path);
  if (failure !== undefined) throw failure;
}

/** Why it cannot be made while a folder above it is missing, or seems to be. Throws any other reason. */
function failureOf(path: string): Error | undefined {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Not every system says EEXIST of one that is there: others may have made it just now, too.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return undefined;
    if (codeOf(error) === 'ENOENT') return error as Error;
    throw error;
  }
  return undefined;
}
