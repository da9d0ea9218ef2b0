/** A gateway of this very build on a database of its own, both gone at the end. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedUrl } from '../../platform/store/embedded';
import { failed, usage } from '../errors';

const MAIN = join(__dirname, '..', 'main.js');
const START_PATIENCE = 300_000;
const END_PATIENCE = 30_000;

/** Settings of the caller that would lead the gateway away from its stage. */
const NOT_PASSED_ON = new Set([
  'DATABASE_URL',
  'M2M_KEY_FILE',
  'M2M_TLS_LISTEN',
  'M2M_TLS_CERT',
  'M2M_TLS_KEY',
  'M2M_OPS_TOKEN_FILE',
  'M2M_SMS',
]);

export interface Stage {
  readonly host: string;
  readonly port: number;
  /** For the database's owner. */
  readonly databaseUrl: string;
  readonly pid: number;
  /** Settings of the caller's environment that it works with. */
  readonly settings: Readonly<Record<string, string>>;
  remove(): Promise<void>;
}

/** @param stop gives the start up */
export async function openStage(stop: AbortSignal): Promise<Stage> {
  const dataDir = await mkdtemp(join(tmpdir(), 'm2m-bench-'));
  const log = join(dataDir, 'gateway.log');
  const settings = passedOn();
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      ...withoutSettings(),
      ...settings,
      M2M_DATA_DIR: dataDir,
      M2M_LISTEN: '127.0.0.1:0',
      M2M_OPS_LISTEN: '127.0.0.1:0',
      M2M_LOG_FILE: log,
      M2M_DRAIN: '0',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const remove = async (): Promise<void> => {
    await end(child);
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const { host, port } = await listening(child, log, stop);
    return { host, port, databaseUrl: embeddedUrl(dataDir), pid: child.pid ?? 0, settings, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function passedOn(): Record<string, string> {
  const own = Object.entries(process.env).filter(
    ([name, value]) => name.startsWith('M2M_') && !NOT_PASSED_ON.has(name) && value !== undefined,
  );
  return Object.fromEntries(own) as Record<string, string>;
}

function withoutSettings(): NodeJS.ProcessEnv {
  const rest = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('M2M_') && name !== 'DATABASE_URL',
  );
  return Object.fromEntries(rest);
}

async function listening(
  child: ChildProcess,
  log: string,
  stop: AbortSignal,
): Promise<{ host: string; port: number }> {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
  const deadline = performance.now() + START_PATIENCE;
  while (child.exitCode === null && child.signalCode === null && performance.now() < deadline) {
    stop.throwIfAborted();
    const found = existsSync(log) ? startLine(readFileSync(log, 'utf8')) : undefined;
    if (found !== undefined) return found;
    await sleep(50);
  }
  const last = said.trim().split('\n').at(-1) ?? '';
  const why = `the gateway did not start: ${last.replace(/^m2m: /, '') || 'it says nothing'}`;
  throw child.exitCode === 2 ? usage(why) : failed(why);
}

function startLine(text: string): { host: string; port: number } | undefined {
  const lines = text.split('\n').slice(0, -1);
  for (const line of lines) {
    const read = JSON.parse(line) as Record<string, unknown>;
    const listen = read['m2m.listen'];
    if (read['event.action'] !== 'gateway-started' || typeof listen !== 'string') continue;
    const at = listen.lastIndexOf(':');
    return { host: listen.slice(0, at), port: Number(listen.slice(at + 1)) };
  }
  return undefined;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_PATIENCE);
  await gone;
  clearTimeout(timer);
}
