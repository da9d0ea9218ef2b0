import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { copyFile, stat, truncate } from 'node:fs/promises';

const LONGEST_TAIL = 64 * 1024;

/** The server's own log from some moment on. */
export interface LogPart {
  readonly fd: number;
  /** What was said since last, in one line. */
  tail(): string;
  close(): void;
}

function readFrom(path: string, offset: number): string {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const start = Math.max(offset > size ? 0 : offset, size - LONGEST_TAIL);
    const bytes = Buffer.alloc(size - start);
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start));
  } finally {
    closeSync(fd);
  }
}

// Said at every start and stop, the last two to this launcher's own attempts to connect.
const ROUTINE = new RegExp(
  [
    'LOG: +(starting PostgreSQL|listening on|database system (is|was) (shut|ready)|received|aborting)',
    'FATAL: +(the database system is starting up|database "m2m" does not exist)',
  ].join('|'),
);

/** The last lines that may tell somebody why. */
function gistOf(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/^\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] /, '').trim())
    .filter((line) => line !== '' && !ROUTINE.test(line))
    .slice(-3)
    .join('; ');
}

/** Opens the log for the next run of a program. */
export function openLog(path: string): LogPart {
  const fd = openSync(path, 'a', 0o600);
  const offset = fstatSync(fd).size;
  return { fd, tail: () => gistOf(readFrom(path, offset)), close: () => closeSync(fd) };
}

/**
 * Keeps the log below a size: what was in it moves to a second file, over what that one held. The server
 * appends, so emptying the file under it is safe; a line written in between may be lost.
 */
export async function boundLog(path: string, limit: number): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= limit) return;
  await copyFile(path, `${path}.1`);
  await truncate(path);
}
