/** psql as operators run it. Debian: postgresql-client. */
import { execFileSync, spawnSync } from 'node:child_process';

const there = spawnSync('psql', ['--version']).status === 0;
if (!there && process.env['CI']) throw new Error('psql is not installed: apt-get install postgresql-client');
if (!there) process.stderr.write('psql is not installed: tests that need it are skipped\n');

/** Skips where psql is missing, but never in CI. */
export const describeWithPsql = there ? describe : describe.skip;

const OPTIONS = ['-v', 'ON_ERROR_STOP=1', '-XqAt'];

/** @returns what psql writes: one line a row, columns split by `|` */
export function psql(url: string, args: readonly string[], input = ''): string {
  return execFileSync('psql', [url, ...OPTIONS, ...args], { input, encoding: 'utf8' });
}

/** As psql(), where it may fail. */
export function psqlEnd(
  url: string,
  args: readonly string[],
  input = '',
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('psql', [url, ...OPTIONS, ...args], { input, encoding: 'utf8' });
}
