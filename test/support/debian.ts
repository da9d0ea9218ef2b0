/** Programs from Debian that tests run. */
import { spawnSync } from 'node:child_process';

/**
 * `describe`, or one that skips where the program is missing. In CI a missing one is a failure.
 *
 * @param probe its arguments for a call that does nothing
 */
export function describeWith(program: string, probe: readonly string[], debianPackage: string) {
  const there = spawnSync(program, probe).error === undefined;
  if (!there && process.env['CI'])
    throw new Error(`${program} is not installed: apt-get install ${debianPackage}`);
  if (!there) process.stderr.write(`${program} is not installed: tests that need it are skipped\n`);
  return there ? describe : describe.skip;
}
