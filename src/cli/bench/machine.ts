/** What the numbers of a load test were measured on, and what processes used, as far as /proc tells. */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem, type as osType } from 'node:os';
import { usage } from '../errors';

export function machineFacts(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory_mib: Math.round(totalmem() / 1024 / 1024),
    kernel: `${osType()} ${release()}`,
    node: process.version,
  };
}

/** Files that the generator needs besides its connections. */
const OWN_FILES = 100;

function limits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}

/** Connections that the limit of open files leaves room for; Infinity where it is not known. */
export function roomForConnections(text = limits()): number {
  // Node.js has raised the soft limit to the hard one by the time that this is read.
  return Number(/^Max open files +(\d+)/m.exec(text)?.[1] ?? Infinity) - OWN_FILES;
}

/** Ends the command with 2 where so many connections cannot be had. @param own of the gateway, where it is staged */
export function checkOpenFiles(connections: number, own: number, room = roomForConnections()): void {
  if (connections + own <= room) return;
  const needed = connections + own + OWN_FILES;
  throw usage(
    `${connections} connections need ${needed} open files, and the limit is ${room + OWN_FILES}: ulimit -n ${needed}`,
  );
}

export interface CpuSeconds {
  readonly gateway: number;
  readonly postgres: number;
}

/** Clock ticks a second, as /proc counts them on every Linux that Node.js runs on. */
const TICKS = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  readonly seconds: number;
}

/** Of a gateway and its database below it, ended children included; undefined where there is no /proc. */
export function cpuSeconds(gatewayPid: number): CpuSeconds | undefined {
  const all = readStats();
  if (!all.some(({ pid }) => pid === gatewayPid)) return undefined;
  const below = new Set([gatewayPid]);
  // Parents stand before their children as a rule, but pids wrap around.
  for (let size = 0; size < below.size;) {
    size = below.size;
    for (const { pid, parent } of all) if (below.has(parent)) below.add(pid);
  }
  const sum = (isPostgres: boolean): number =>
    all
      .filter(({ pid, name }) => below.has(pid) && name.startsWith('postgres') === isPostgres)
      .reduce((total, { seconds }) => total + seconds, 0);
  return { gateway: sum(false), postgres: sum(true) };
}

function readStats(): Stat[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .flatMap((pid) => statOf(pid) ?? []);
  } catch {
    return [];
  }
}

function statOf(pid: string): Stat | undefined {
  try {
    // proc(5): pid (comm) state ppid … utime stime cutime cstime, the 14th to 17th field.
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const end = text.lastIndexOf(')');
    const fields = text.slice(end + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((total, field) => total + Number(field), 0);
    const name = text.slice(text.indexOf('(') + 1, end);
    return { pid: Number(pid), parent: Number(fields[1]), name, seconds: ticks / TICKS };
  } catch {
    return undefined;
  }
}
