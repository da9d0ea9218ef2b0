/** The script between a program and its owner, where something is done to the script itself. */
import { openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ownIdentity } from '../../../src/platform/store/embedded/identity';
import { spawnWatched } from '../../../src/platform/store/embedded/watchdog';
import { eventually } from '../../support/eventually';

const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

test('one that stands still when it is to end is not waited for for ever', async () => {
  const before = new Set(childrenOf(process.pid));
  const watched = spawnWatched({
    identity: ownIdentity(),
    file: '/bin/sleep',
    args: ['1000'],
    output: openSync('/dev/null', 'w'),
    home: tmpdir(),
    patience: 0,
  });
  const [watchdog] = childrenOf(process.pid).filter((pid) => !before.has(pid));
  await eventually('the program and who watches it', () => childrenOf(watchdog!).length === 2);
  process.kill(watchdog!, 'SIGSTOP');
  watched.end();
  expect(await watched.ended).toBe('its watchdog was killed by SIGKILL');
});
