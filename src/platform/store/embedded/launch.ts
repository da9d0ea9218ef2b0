import { setTimeout as sleep } from 'node:timers/promises';
import { program } from './binaries';
import { EmbeddedError, sayingOf } from './errors';
import type { Home } from './home';
import { PORT } from './layout';
import { openLog } from './log';
import type { LogPart } from './log';
import { clearOrphan, serverPid } from './orphan';
import { untilReady } from './readiness';
import { spawnWatched } from './watchdog';
import type { Watched } from './watchdog';

/** Server parameters by name. */
export type Parameters = Readonly<Record<string, string>>;

/** A server that takes connections. */
export interface Running {
  readonly pid: number;
  /** Resolves with how it ended and what it said last; never rejects. */
  readonly ended: Promise<string>;
  end(): void;
}

const STOP_PATIENCE_S = 30;
const LEFTOVER_PATIENCE_MS = 30_000;

/** What holds whatever postgresql.conf says: nobody else gets in, and no secret gets into the log. */
function fixedParameters(home: Home): Parameters {
  return {
    listen_addresses: '',
    port: String(PORT),
    unix_socket_directories: `"${home.listenDir}"`,
    unix_socket_permissions: '0700',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_min_duration_statement: '-1',
    log_parameter_max_length_on_error: '0',
    // The detail of a violated constraint shows the whole row, the context of a failed COPY its line.
    log_error_verbosity: 'terse',
  };
}

function serverArguments(home: Home, parameters: Parameters): string[] {
  const all = Object.entries({ ...fixedParameters(home), ...parameters });
  return ['-D', home.clusterDir, ...all.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

function spawnServer(home: Home, parameters: Parameters, log: LogPart): Watched {
  return spawnWatched({
    identity: home.identity,
    file: program(home.binaries, 'postgres'),
    args: serverArguments(home, parameters),
    output: log.fd,
    home: home.dataDir,
    patience: STOP_PATIENCE_S,
  });
}

async function ready(home: Home, server: Watched, stopped: AbortSignal): Promise<number> {
  const over = new AbortController();
  const ended = server.ended.then((why) => {
    over.abort();
    throw new EmbeddedError(why);
  });
  await Promise.race([ended, untilReady(home.listenDir, AbortSignal.any([over.signal, stopped]))]);
  const pid = await serverPid(home.clusterDir);
  if (pid === undefined) throw new EmbeddedError('it left no postmaster.pid');
  return pid;
}

async function launchOnce(home: Home, parameters: Parameters, stopped: AbortSignal): Promise<Running> {
  const log = openLog(home.log);
  const server = spawnServer(home, parameters, log);
  const ended = server.ended.then((why) => `${why}: ${log.tail()}`);
  log.close();
  try {
    return { pid: await ready(home, server, stopped), ended, end: () => server.end() };
  } catch (error) {
    server.end();
    const said = await ended;
    const why =
      error instanceof EmbeddedError && !said.startsWith(error.message) ? `${error.message}; ${said}` : said;
    throw new EmbeddedError(`the embedded PostgreSQL in ${home.dataDir} does not start: ${why}`);
  }
}

// Backends of a server that was killed notice it one by one, and a server whose owner died just when it had
// started it may get there first, to be ended by its watchdog.
const LEFTOVER = /is still in use|lock file .* already exists/;

/** Starts the server and waits until it takes connections. */
export async function launch(home: Home, parameters: Parameters, stopped: AbortSignal): Promise<Running> {
  const deadline = performance.now() + LEFTOVER_PATIENCE_MS;
  for (;;) {
    try {
      return await launchOnce(home, parameters, stopped);
    } catch (error) {
      if (!LEFTOVER.test(sayingOf(error)) || stopped.aborted || performance.now() > deadline) throw error;
      await sleep(200);
      await clearOrphan(home);
    }
  }
}
