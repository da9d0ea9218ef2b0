/** Processes whose clock is off (Debian package faketime). */
import { execFileSync } from 'node:child_process';
import { describeWith } from './debian';

export const describeWithFaketime = (name: string, suite: () => void) =>
  describeWith('faketime', ['--version'], 'faketime')(name, suite);

/** @param offset as `+600s` @returns the environment of a process that lives there */
export function fakeTime(offset: string): Record<string, string> {
  const shown = execFileSync('faketime', ['-f', offset, 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' });
  return { LD_PRELOAD: shown.trim(), FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}
