import { chown, lstat, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { program } from './binaries';
import { EmbeddedError } from './errors';
import type { Home } from './home';
import { OWNER } from './layout';
import { openLog } from './log';
import { spawnWatched } from './watchdog';

const HALF_MADE = 'postgres.new-';

/** Written to postgresql.conf once, so that ALTER SYSTEM and an editor still have their say. */
const TUNING: Readonly<Record<string, string>> = {
  max_connections: '200',
  shared_buffers: '128MB',
  fsync: 'on',
  synchronous_commit: 'on',
  min_wal_size: '80MB',
  max_wal_size: '1GB',
  wal_compression: 'on',
  jit: 'off',
};

// Everybody who can reach the socket is the owner of the data or root: its directory is 0700, and the
// server listens nowhere else. A password would have to lie beside the data and add nothing.
const HBA = `# TYPE  DATABASE     USER  METHOD
local   all          all   trust
local   replication  all   trust
`;

function initArguments(directory: string, durable: boolean): string[] {
  const tuning = Object.entries(TUNING).map(([name, value]) => `--set=${name}=${value}`);
  const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  const sync = durable ? [] : ['--no-sync'];
  return [`--pgdata=${directory}`, `--username=${OWNER}`, '--auth=trust', ...locale, ...tuning, ...sync];
}

async function initialise(home: Home, directory: string, durable: boolean): Promise<void> {
  const log = openLog(home.log);
  try {
    const ended = await spawnWatched({
      identity: home.identity,
      file: program(home.binaries, 'initdb'),
      args: initArguments(directory, durable),
      output: log.fd,
      home: home.dataDir,
      patience: 5,
    }).ended;
    if (ended === 'it ended with code 0') return;
    throw new EmbeddedError(
      `the embedded PostgreSQL cannot be set up in ${home.dataDir}: ${ended}: ${log.tail()}`,
    );
  } finally {
    log.close();
  }
}

async function forgetHalfMade(parent: string): Promise<void> {
  const names = (await readdir(parent)).filter((name) => name.startsWith(HALF_MADE));
  // One whose initdb is just being ended may refill; the next start finds it again.
  await Promise.all(
    names.map((name) => rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined)),
  );
}

async function sync(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  await handle.sync().finally(() => handle.close());
}

async function create(home: Home, parent: string, durable: boolean): Promise<void> {
  const fresh = await mkdtemp(join(parent, HALF_MADE));
  if (home.identity.kind === 'user') await chown(fresh, home.identity.uid, home.identity.gid);
  await initialise(home, fresh, durable);
  await writeFile(join(fresh, 'pg_hba.conf'), HBA);
  await rename(fresh, home.clusterDir);
  if (durable) await sync(parent);
}

/** The server itself would only say that its files are incompatible. */
async function checkVersion({ clusterDir, dataDir, binaries }: Home): Promise<void> {
  const made = (await readFile(join(clusterDir, 'PG_VERSION'), 'utf8').catch(() => '')).trim();
  const ours = String(Number.parseInt(binaries.version, 10));
  // What is no version at all is for the server to judge.
  if (!/^[0-9.]+$/.test(made) || made === ours) return;
  throw new EmbeddedError(
    `M2M_DATA_DIR: the database in ${dataDir} was made by PostgreSQL ${made}, and this release has ${ours}: ` +
      'take a dump with the release that made it (pg_dump), and bring that into a new data directory',
  );
}

/**
 * Makes the cluster where there is none. It appears under its name only when it is complete, so one whose
 * making was interrupted is never taken for a good one.
 */
export async function ensureCluster(home: Home, durable: boolean): Promise<void> {
  const parent = dirname(home.clusterDir);
  await forgetHalfMade(parent);
  const found = await lstat(home.clusterDir).catch(() => undefined);
  if (found !== undefined) return checkVersion(home);
  await create(home, parent, durable);
}
