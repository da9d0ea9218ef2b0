import { spawn } from 'node:child_process';
import { EmbeddedError } from './errors';
import { commandFor } from './identity';
import type { Identity } from './identity';

/*
 * Standard input is a pipe whose other end only the gateway holds (Node makes it close-on-exec), so it
 * ends when the gateway does, however that dies. Then the server is asked to stop (fast shutdown), after
 * the time given made to (immediate shutdown), and at last killed. Asking is repeated, because a program
 * that has just been started ignores SIGINT until it installs its own handlers: a shell starts what it
 * puts in the background that way. The shells ignore SIGTERM, which service managers send to all.
 */
const SCRIPT = `
trap '' HUP INT QUIT TERM
patience=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
  read -r _ <&3
  exec 3<&-
  tries=0
  while [ $tries -lt $((patience * 5)) ] && kill -INT $server; do
    sleep 0.2
    tries=$((tries + 1))
  done
  kill -QUIT $server
  sleep 5
  kill -KILL $server
) 2>/dev/null &
watchdog=$!
exec 3<&-
wait $server
code=$?
kill -KILL $watchdog 2>/dev/null
exit $code
`;

/** Seconds beyond the patience with the program, of which the script takes five. */
const LEEWAY = 15;

/** What to run under the watchdog. */
export interface WatchedOptions {
  readonly identity: Identity;
  readonly file: string;
  readonly args: string[];
  /** Takes both of the program's outputs. */
  readonly output: number;
  readonly home: string;
  /** Seconds from asking the program to end to making it. */
  readonly patience: number;
}

/** A program that ends with this process, or before. */
export interface Watched {
  /** Resolves with how it ended, in words; never rejects. */
  readonly ended: Promise<string>;
  /** Asks it to end, and makes it in time. */
  end(): void;
}

/** An environment in which nothing (PGPORT, PGOPTIONS, LC_ALL …) reaches the server by accident. */
function environment(home: string): NodeJS.ProcessEnv {
  const { PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', TZ } = process.env;
  return { PATH, HOME: home, LC_ALL: 'C', ...(TZ === undefined ? {} : { TZ }) };
}

function inWords(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal !== null) return `its watchdog was killed by ${signal}`;
  if (code === 126 || code === 127) return 'its program does not run on this system: set DATABASE_URL';
  // A shell's way to tell a signal.
  if (code !== null && code > 128) return `it was killed by signal ${code - 128}`;
  return `it ended with code ${code ?? 'unknown'}`;
}

/** Starts a program in a session of its own, so that Ctrl-C in the terminal does not reach it. */
export function spawnWatched(options: WatchedOptions): Watched {
  const { file, args, ids } = commandFor(options.identity, options.file, options.args);
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'm2m-watchdog', String(options.patience), file, ...args], {
    ...ids,
    cwd: '/',
    detached: true,
    env: environment(options.home),
    stdio: ['pipe', options.output, options.output],
  });
  const { stdin } = child;
  if (stdin === null) throw new EmbeddedError('the watchdog has no pipe');
  stdin.on('error', () => undefined);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`it cannot be started: ${error.message}`));
    child.once('exit', (code, signal) => resolve(inWords(code, signal)));
  });
  // Whatever is left of a watchdog that was killed itself sees the end of the pipe too.
  void ended.then(() => stdin.destroy());
  const end = (): void => {
    stdin.end();
    // One that stands still itself would be waited for for ever. The next step finds what it leaves.
    setTimeout(() => child.kill('SIGKILL'), (options.patience + LEEWAY) * 1000).unref();
  };
  return { ended, end };
}
