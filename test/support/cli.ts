/** The `m2m` command as a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '..', '..');
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Throws where dist is not there, or older than the sources of these folders: `npm run build` makes it. */
export function requireBuild(...folders: readonly string[]): void {
  const newest = Math.max(
    ...folders.flatMap((folder) => readdirSync(join(ROOT, 'src', folder)).map(age(folder))),
  );
  if (!existsSync(MAIN)) throw new Error('dist/cli/main.js is not there: npm run build');
  const built = statSync(join(ROOT, 'dist', '.tsbuildinfo')).mtimeMs;
  if (built < newest) throw new Error('dist is older than src: rm -rf dist && npm run build');
}

const age = (folder: string) => (name: string) => statSync(join(ROOT, 'src', folder, name)).mtimeMs;

/** @param watch sees what it has written so far, and may send it a signal: only the first one is sent */
export function m2m(
  args: readonly string[],
  watch?: (out: string, kill: (signal: NodeJS.Signals) => void) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    watch?.(out, (signal) => child.killed || child.kill(signal));
  });
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

/** Lines of JSON, of one event where it is named. */
export function events(out: string, name?: string): Record<string, unknown>[] {
  const all = out
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return name === undefined ? all : all.filter(({ event }) => event === name);
}
