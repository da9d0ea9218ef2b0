import { transformFileSync } from '@swc/core';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { startEmbedded } from '../../src/platform/store/embedded';
import type { EmbeddedOptions, EmbeddedServer } from '../../src/platform/store/embedded';
import { eventually } from './eventually';

/** What another process says of its attempt to start a server. */
export interface Said {
  readonly pid?: number;
  readonly name?: string;
  readonly message?: string;
  /** A process that it started besides. */
  readonly bystander?: number;
}

/** Another process that starts a server. */
export interface Owner {
  readonly child: ChildProcess;
  /** The next thing it says. */
  readonly next: () => Promise<Said>;
  readonly kill: () => Promise<void>;
}

export const FAST = { fsync: 'off' };

const REPOSITORY = resolve(__dirname, '../..');
const SOURCES = join(REPOSITORY, 'src/platform/store/embedded');

const OWNER_SCRIPT = `
const { startEmbedded } = require('./index.js');
const say = (word) => process.stdout.write(JSON.stringify(word) + '\\n');
if (process.argv[3]) {
  const { pid } = require('node:child_process').spawn('sleep', ['300'], { detached: true, stdio: 'ignore' });
  say({ bystander: pid });
}
startEmbedded({ dataDir: process.argv[2], parameters: { fsync: 'off' } }).then(
  (server) => {
    say({ pid: server.pid });
    process.stdin.resume().on('end', () => server.stop());
  },
  (error) => {
    say({ name: error.name, message: error.message });
  },
);
`;

/** Runs one statement and returns the first value of the first row. */
export async function query(url: string, text: string): Promise<unknown> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(text);
    return rows[0] && Object.values(rows[0])[0];
  } finally {
    await client.end();
  }
}

/** Whether a process runs; one that waits to be reaped does not. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    // Without /proc the signal's word counts.
    return (error as NodeJS.ErrnoException).code === 'ENOENT' && !existsSync('/proc/self/stat');
  }
}

/** The processes whose command holds a text: initdb, the server, their shells. */
export function processesWith(...texts: string[]): number[] {
  const { stdout } = spawnSync('ps', ['-ww', '-eo', 'pid=,command='], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return stdout
    .split('\n')
    .filter((line) => texts.every((text) => line.includes(text)) && !line.includes('owner.js'))
    .map((line) => Number.parseInt(line, 10))
    .filter(lives);
}

/** The place of a test file for its data directories, servers and other processes. */
export class Workshop {
  private readonly directory = mkdtempSync(join(tmpdir(), 'm2m-embedded-'));
  private readonly servers: EmbeddedServer[] = [];
  private readonly children: ChildProcess[] = [];
  private model: Promise<string> | undefined;

  constructor() {
    this.compile();
  }

  /** A path, not yet there, in a directory that only this user can enter. */
  fresh(name = 'data'): string {
    return join(mkdtempSync(join(this.directory, 'case-')), name);
  }

  /** A data directory that has its cluster already, which spares the time of making one. */
  async prepared(name = 'data'): Promise<string> {
    this.model ??= this.makeModel();
    const [model, dataDir] = [await this.model, this.fresh(name)];
    mkdirSync(dataDir, { mode: 0o700 });
    execFileSync('cp', ['-a', join(model, 'postgres'), join(dataDir, 'postgres')]);
    return dataDir;
  }

  /** A server that is stopped after the test. */
  async start(dataDir: string, options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedServer> {
    const server = await startEmbedded({ dataDir, parameters: FAST, ...options });
    this.servers.push(server);
    return server;
  }

  /** A process that is killed after the test. */
  keep(child: ChildProcess): ChildProcess {
    this.children.push(child);
    return child;
  }

  /** Another process that starts a server. */
  owner(dataDir: string, ...args: string[]): Owner {
    const env = { ...process.env, NODE_PATH: join(REPOSITORY, 'node_modules') };
    const script = join(this.directory, 'owner.js');
    const child = spawn(process.execPath, [script, dataDir, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env,
    });
    this.keep(child);
    const gone = once(child, 'exit');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await gone;
    };
    return { child, kill, next: async () => JSON.parse((await lines.next()).value as string) as Said };
  }

  /** Ends what the test started, and fails where a process is left. */
  async tidy(): Promise<void> {
    await Promise.all(this.servers.splice(0).map((server) => server.stop()));
    for (const child of this.children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
    await eventually('no process is left', () => processesWith(this.directory).length === 0);
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async makeModel(): Promise<string> {
    const dataDir = this.fresh('model');
    await (await startEmbedded({ dataDir, parameters: FAST })).stop();
    return dataDir;
  }

  // A process that is to be killed has to be another one, and that one runs JavaScript.
  private compile(): void {
    const options = { jsc: { parser: { syntax: 'typescript' as const }, target: 'es2022' as const } };
    for (const name of readdirSync(SOURCES)) {
      const { code } = transformFileSync(join(SOURCES, name), { ...options, module: { type: 'commonjs' } });
      writeFileSync(join(this.directory, name.replace(/\.ts$/, '.js')), code);
    }
    writeFileSync(join(this.directory, 'owner.js'), OWNER_SCRIPT);
  }
}
