import { createHash } from 'node:crypto';
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** Where things of one data directory are. All of it follows from the path alone. */
export interface Layout {
  /** The data directory, without symbolic links. */
  readonly dataDir: string;
  /** The cluster, or a link to it where the server's user cannot enter the data directory. */
  readonly cluster: string;
  /** Holds the claims of the processes that own or owned the data directory. */
  readonly claims: string;
  /** The server's own log. */
  readonly log: string;
  /** The directory of the socket as clients name it. */
  readonly socketDir: string;
  readonly url: string;
}

/** Part of the socket's name only: the server listens on no network port. */
export const PORT = 5432;

/** The one superuser, and the name of the product's database. */
export const OWNER = 'm2m';

// sun_path holds 108 bytes on Linux and 104 on the BSDs, one of them for the closing zero.
const LONGEST_SOCKET = process.platform === 'linux' ? 107 : 103;

/** The path without symbolic links, also where its end does not exist yet. */
function realDirectory(dir: string): string {
  const wanted = resolve(dir);
  try {
    return realpathSync(wanted);
  } catch {
    const parent = dirname(wanted);
    return parent === wanted ? wanted : join(realDirectory(parent), basename(wanted));
  }
}

/** The short name that stands for a path. */
export function hashOf(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 16);
}

/** Whether a socket in this directory can be named by every client. */
function nameable(socketDir: string): boolean {
  const socket = join(socketDir, `.s.PGSQL.${PORT}`);
  // libpq takes a comma in `host` for the start of another host, and the server one for another directory.
  return Buffer.byteLength(socket) <= LONGEST_SOCKET && !/[,"\n]/.test(socket);
}

function ownerOf(path: string): number {
  try {
    return statSync(path).uid;
  } catch {
    return process.getuid?.() ?? 0;
  }
}

function socketDirOf(dataDir: string): string {
  const inside = join(dataDir, 'socket');
  if (nameable(inside)) return inside;
  // Not os.tmpdir(): TMPDIR differs between a service and its operator's shell, the URL must not.
  return `/tmp/m2m-${ownerOf(dataDir)}-${hashOf(dataDir)}`;
}

/** Where everything of this data directory is. */
export function layoutOf(dir: string): Layout {
  const dataDir = realDirectory(dir);
  const socketDir = socketDirOf(dataDir);
  return {
    dataDir,
    cluster: join(dataDir, 'postgres'),
    claims: join(dataDir, 'postgres.owner'),
    log: join(dataDir, 'postgres.log'),
    socketDir,
    url: urlOf(socketDir, OWNER),
  };
}

/** The connection URL of a database behind a socket directory. */
export function urlOf(socketDir: string, database: string): string {
  return `postgresql://${OWNER}@/${database}?host=${encodeURIComponent(socketDir)}&port=${PORT}`;
}
