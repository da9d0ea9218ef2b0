import { execFile } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { codeOf } from './errors';

const run = promisify(execFile);

interface ProcessState {
  readonly dead: boolean;
  readonly started: string;
}

/** State and start time as proc(5) gives them; undefined without /proc or without the process. */
function stateOf(pid: number): ProcessState | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { dead: fields[0] === 'Z' || fields[0] === 'X', started: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

/** Whether the process runs; one that only waits to be reaped does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false;
  }
  return stateOf(pid)?.dead !== true;
}

/** What tells a process from a later one of the same number; empty where the system does not say. */
export function startOf(pid: number): string {
  return stateOf(pid)?.started ?? '';
}

/** Names this run of the system: start times count from its boot. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

async function commandOf(pid: number): Promise<string> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
  } catch {
    const { stdout } = await run('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).catch(() => ({
      stdout: '',
    }));
    return stdout;
  }
}

function workingDirectoryOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** What a process is to a cluster. */
export type Relation = 'dead' | 'its server' | 'unrelated' | 'unclear';

/** Whether the process that a cluster's postmaster.pid names really is its server. */
export async function relationOf(pid: number, cluster: string): Promise<Relation> {
  if (!isAlive(pid)) return 'dead';
  const command = await commandOf(pid);
  if (!command.includes('postgres')) return command === '' ? 'unclear' : 'unrelated';
  if (command.includes(`-D ${cluster} `)) return 'its server';
  // A cluster that was moved while its server ran still shows in where the server works.
  const cwd = workingDirectoryOf(pid);
  if (cwd === undefined) return 'unclear';
  return cwd === cluster ? 'its server' : 'unrelated';
}
