/** The gateway as its users have it: a real process of what `npm run build` made, on a real database. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeKeyFile } from '../../src/platform/keys/keyFile';
import { noteSecret } from './secrets';
import { Witness } from './witness';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const PATIENCE_MS = 240_000;

export type LogLine = Record<string, unknown>;

export interface GatewayProcess {
  readonly host: string;
  readonly port: number;
  /** `http://127.0.0.1:port` */
  readonly ops: string;
  readonly child: ChildProcess;
  /** Log lines so far. */
  readonly log: LogLine[];
  readonly stderr: () => string;
  /** The first line, past or future, that passes. */
  logged(match: (line: LogLine) => boolean): Promise<LogLine>;
  /** SIGTERM. @returns the exit code */
  stop(): Promise<number | null>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

export interface TestHome {
  readonly directory: string;
  readonly keyFile: string;
  remove(): void;
}

/** A test that fails half-way must not leave its gateways behind. */
const living = new Set<ChildProcess>();
const killLiving = () => {
  for (const child of living) child.kill('SIGKILL');
};
process.on('exit', killLiving);

/** A folder with a key file, shared by the gateways of one deployment. */
export function testHome(): TestHome {
  const directory = mkdtempSync(join(tmpdir(), 'm2m-e2e-'));
  const keyFile = join(directory, 'keys.json');
  makeKeyFile(keyFile);
  for (const [key] of readFileSync(keyFile, 'utf8').matchAll(/[0-9a-f]{64}/g))
    noteSecret(Buffer.from(key, 'hex'));
  return { directory, keyFile, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

export interface StartOptions {
  readonly databaseUrl: string;
  readonly home: TestHome;
  readonly environment?: Record<string, string>;
  /** A file that standard output leads to, in place of a pipe. */
  readonly output?: string;
}

export async function startGateway({
  databaseUrl,
  home,
  environment,
  output: file,
}: StartOptions): Promise<GatewayProcess> {
  const stdout = file === undefined ? 'pipe' : openSync(file, 'a');
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: databaseUrl,
      M2M_KEY_FILE: home.keyFile,
      M2M_DATA_DIR: home.directory,
      M2M_LISTEN: '127.0.0.1:0',
      M2M_OPS_LISTEN: '127.0.0.1:0',
      M2M_DRAIN: '1',
      M2M_WORKERS: '1',
      // No test may depend on how fast a machine gets from connecting to logging in, or from asking to answering.
      M2M_LOGIN_DEADLINE: '300',
      M2M_DATABASE_TIMEOUT: '120',
      ...environment,
    },
    stdio: ['ignore', stdout, 'pipe'],
  });
  if (typeof stdout === 'number') closeSync(stdout);
  living.add(child);
  child.once('close', () => living.delete(child));
  const output = collect(child);
  const logFile = environment?.['M2M_LOG_FILE'] ?? file;
  const witness = new Witness(child, logFile);
  const isStart = (line: LogLine) => line['event.action'] === 'gateway-started';
  const started = logFile === undefined ? await output.logged(isStart) : await loggedInFile(logFile, isStart);
  const [host, port] = (started['m2m.listen'] as string).split(':');
  const ops = `http://${started['m2m.ops_listen'] as string}`;
  const ended = async (signal: NodeJS.Signals) => {
    const code = await end(child, signal);
    witness.look();
    return code;
  };
  return {
    host: host!,
    port: Number(port),
    ops,
    child,
    ...output,
    stop: async () => {
      // One that has been told to end already must not be told again at its very end.
      if (isAlive(child) && !child.killed) await witness.scrape(ops);
      return ended('SIGTERM');
    },
    kill: async () => void (await ended('SIGKILL')),
  };
}

/** The first line of a log file that passes, as soon as it is there. */
async function loggedInFile(file: string, match: (line: LogLine) => boolean): Promise<LogLine> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    const found = lines.map((line) => JSON.parse(line) as LogLine).find(match);
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`no such line in ${file}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs a command of `m2m` to its end. */
export async function runCommand(
  args: readonly string[],
  environment: Record<string, string>,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

function isAlive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (!isAlive(child)) return child.exitCode;
  const gone = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  child.kill(signal);
  return gone;
}

function collect(child: ChildProcess) {
  const log: LogLine[] = [];
  const waiters = new Set<(line: LogLine) => void>();
  let stderr = '';
  let rest = '';
  child.stderr?.on('data', (chunk) => (stderr += String(chunk)));
  child.stdout?.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) {
      const line = JSON.parse(text) as LogLine;
      log.push(line);
      for (const waiter of waiters) waiter(line);
    }
  });
  const logged = (match: (line: LogLine) => boolean) =>
    new Promise<LogLine>((resolve, reject) => {
      const known = log.find(match);
      if (known !== undefined) return resolve(known);
      const done = (act: () => void) => {
        clearTimeout(timer);
        waiters.delete(look);
        child.off('close', onClose);
        act();
      };
      const look = (line: LogLine) => match(line) && done(() => resolve(line));
      const fail = (why: string) => done(() => reject(new Error(`${why}; standard error: ${stderr}`)));
      const timer = setTimeout(() => fail('no such log line'), PATIENCE_MS);
      const onClose = () => fail('the gateway ended');
      waiters.add(look);
      child.once('close', onClose);
    });
  return { log, logged, stderr: () => stderr };
}
