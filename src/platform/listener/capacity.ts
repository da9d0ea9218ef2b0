/** How many connections the machine's own limits leave room for. */
import { readFileSync } from 'node:fs';

/** Files and connections of the gateway itself: database, logs, HTTP, libraries. */
const OWN_FILES = 400;

/**
 * @param wanted M2M_MAX_CONNECTIONS
 * @param limits what /proc/self/limits holds (proc(5)); undefined where there is none
 * @returns connections that can be served at once
 */
export function roomFor(wanted: number, limits = readLimits()): number {
  // Node.js has raised the soft limit to the hard one by the time that this is read.
  const open = Number(/^Max open files +(\d+)/m.exec(limits ?? '')?.[1] ?? Infinity);
  return Math.max(1, Math.min(wanted, open - OWN_FILES));
}

function readLimits(): string | undefined {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return undefined;
  }
}
