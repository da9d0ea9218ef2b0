import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataDirectoryInUse, EmbeddedError, codeOf } from './errors';
import type { Home } from './home';
import { PORT } from './layout';
import { isAlive, relationOf } from './processes';
import { answers } from './readiness';

/** How long a server that lost its owner gets for each way to end, in milliseconds. */
const WAYS: readonly (readonly [NodeJS.Signals, number])[] = [
  ['SIGINT', 30_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 10_000],
];

/** The server process as the cluster itself names it. */
export async function serverPid(clusterDir: string): Promise<number | undefined> {
  const text = await readFile(join(clusterDir, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return pid > 0 ? pid : undefined;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return;
    throw new EmbeddedError(`PostgreSQL still runs as process ${pid}, which this process may not stop`);
  }
}

async function isGoneWithin(pid: number, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while (isAlive(pid) && performance.now() < deadline) await sleep(20);
  return !isAlive(pid);
}

async function end(pid: number): Promise<void> {
  for (const [name, patience] of WAYS) {
    signal(pid, name);
    if (await isGoneWithin(pid, patience)) return;
  }
  throw new EmbeddedError(`PostgreSQL still runs as process ${pid} and does not end`);
}

/**
 * Clears what a dead owner left: the server, which its watchdog may just be ending, and lock files whose
 * process number has gone to somebody else, which would keep a new server from starting. Only the owner
 * of the data directory may call it.
 */
export async function clearOrphan(home: Home): Promise<void> {
  const pid = await serverPid(home.clusterDir);
  const relation = pid === undefined ? 'dead' : await relationOf(pid, home.clusterDir);
  if (pid !== undefined && relation === 'its server') await end(pid);
  // Where that cannot be told the server's own checks decide.
  if (relation === 'unclear') return;
  // A container that shares the directory has processes which cannot be seen from here.
  if (await answers(home.listenDir))
    throw new DataDirectoryInUse(home.dataDir, pid ?? 0, ' of another container');
  if (relation === 'unrelated') await rm(join(home.clusterDir, 'postmaster.pid'), { force: true });
  const socket = join(home.listenDir, `.s.PGSQL.${PORT}`);
  await Promise.all([rm(socket, { force: true }), rm(`${socket}.lock`, { force: true })]);
}
