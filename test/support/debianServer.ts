/** PostgreSQL servers of Debian's package postgresql-15, with what it takes to make a standby. Throw-away data. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';

const BIN = '/usr/lib/postgresql/15/bin';
const PATIENCE_MS = 240_000;

const there = existsSync(join(BIN, 'pg_basebackup'));
if (!there && process.env['CI'])
  throw new Error('postgresql-15 is not installed: apt-get install postgresql-15');
if (!there) process.stderr.write('postgresql-15 is not installed: tests that need it are skipped\n');

/** Skips where the package is missing, but never in CI. */
export const testWithDebianServer = there ? test : test.skip;

/** PostgreSQL does not run as root. */
function identity(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const of = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: of('-u'), gid: of('-g') };
}

export class DebianServers {
  private readonly directory = mkdtempSync(join(tmpdir(), 'm2m-debian-'));
  private readonly who = identity();
  private readonly running: DebianServer[] = [];

  constructor() {
    if (this.who.uid !== undefined) chownSync(this.directory, this.who.uid, this.who.gid!);
  }

  /** @param disk a folder for its data; everybody may write to it */
  async primary(disk = this.directory, ...initdb: readonly string[]): Promise<DebianServer> {
    const data = join(disk, 'one');
    this.run('initdb', ['-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', ...initdb]);
    return this.start(data, 'one');
  }

  /** A folder for something of the server's that is not to be with its data. */
  folder(name: string): string {
    return join(this.directory, name);
  }

  /** A streaming standby that the primary waits for with every commit. */
  async standbyOf(primary: DebianServer): Promise<DebianServer> {
    const data = join(this.directory, 'two');
    const source = ['-h', '127.0.0.1', '-p', String(primary.port), '-U', 'postgres'];
    this.run('pg_basebackup', ['-D', data, '-R', '-X', 'stream', '-c', 'fast', '--no-sync', ...source]);
    const standby = await this.start(data, 'two');
    await execute(primary.url, `ALTER SYSTEM SET synchronous_standby_names = 'two'`);
    await execute(primary.url, 'SELECT pg_reload_conf()');
    const isSynchronous = `SELECT FROM pg_stat_replication WHERE sync_state = 'sync'`;
    while ((await execute(primary.url, isSynchronous)) === 0) await sleep(50);
    return standby;
  }

  /** @param between before the folder is removed */
  async close(between?: () => void): Promise<void> {
    await Promise.all(this.running.map((server) => server.crash()));
    between?.();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private run(program: string, args: readonly string[]): void {
    execFileSync(join(BIN, program), args, { ...this.who, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
  }

  private async start(data: string, name: string): Promise<DebianServer> {
    const port = await freePort();
    const settings = [
      'listen_addresses=127.0.0.1',
      `unix_socket_directories=${this.directory}`,
      // By it the primary knows who follows.
      `cluster_name=${name}`,
      'max_connections=100',
      'logging_collector=off',
    ];
    const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
    const launch = () => spawn(join(BIN, 'postgres'), args, { ...this.who, cwd: '/', stdio: 'ignore' });
    const server = new DebianServer(launch, port);
    this.running.push(server);
    await server.isUp();
    return server;
  }
}

/** How a server is told to end: what `pg_ctl stop -m` sends. */
const ENDINGS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const;

export class DebianServer {
  private child: ChildProcess;

  constructor(
    private readonly launch: () => ChildProcess,
    readonly port: number,
  ) {
    this.child = launch();
  }

  /** It has ended of its own accord. */
  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  get url(): string {
    return `postgresql://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** @param supervised one that has ended is started again, as an init system does it */
  async isUp(supervised = false): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        return void (await execute(this.url, 'SELECT 1'));
      } catch (error) {
        if (Date.now() > deadline) throw error;
        if (supervised && this.hasEnded) this.child = this.launch();
        await sleep(100);
      }
    }
  }

  /** Ends at once, as after a crash. */
  crash(): Promise<void> {
    return this.end('immediate');
  }

  /** As `pg_ctl restart -m` does it. @param pause milliseconds for which it is gone */
  async restart(mode: keyof typeof ENDINGS, pause = 0): Promise<void> {
    await this.end(mode);
    await sleep(pause);
    this.child = this.launch();
    await this.isUp();
  }

  async promote(): Promise<void> {
    await execute(this.url, 'SELECT pg_promote(true, 240)');
  }

  private async end(mode: keyof typeof ENDINGS): Promise<void> {
    if (this.hasEnded) return;
    const gone = new Promise<void>((resolve) => this.child.once('close', () => resolve()));
    this.child.kill(ENDINGS[mode]);
    await gone;
  }
}

/** @returns how many rows came */
async function execute(url: string, statement: string): Promise<number> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(statement)).rows.length;
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
