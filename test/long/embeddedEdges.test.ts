/** What an embedded server meets more rarely than the death of its owner. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedUrl } from '../../src/platform/store/embedded';
import type { EmbeddedOptions } from '../../src/platform/store/embedded';
import { eventually } from '../support/eventually';
import { Workshop, lives, processesWith, query } from '../support/workshop';

const workshop = new Workshop();

afterEach(() => workshop.tidy());

afterAll(() => {
  workshop.close();
});

const withProc = existsSync('/proc/self/stat') ? it : it.skip;
const asRoot = process.getuid?.() === 0 ? describe : describe.skip;

describe('after a crash', () => {
  it('a server that lost its watchdog too is found and stopped', async () => {
    const dataDir = await workshop.prepared();
    const { child, next, kill } = workshop.owner(dataDir);
    const { pid } = await next();
    // Or it would see its server end and start another one.
    child.kill('SIGSTOP');
    for (const each of processesWith('m2m-watchdog', dataDir)) process.kill(each, 'SIGKILL');
    await kill();
    await sleep(500);
    expect(lives(pid!)).toBe(true);
    const { url } = await workshop.start(dataDir);
    expect(lives(pid!)).toBe(false);
    expect(await query(url, 'SELECT 1')).toBe(1);
  });

  withProc('lock files are stale when their process number has gone to somebody else', async () => {
    const dataDir = await workshop.prepared();
    const { url, pid } = await workshop.start(dataDir);
    const files = [
      join(dataDir, 'postgres', 'postmaster.pid'),
      join(dataDir, 'socket', '.s.PGSQL.5432.lock'),
    ];
    const contents = files.map((file) => readFileSync(file, 'utf8'));
    await workshop.tidy();
    const stranger = spawn('sleep', ['300'], { stdio: 'ignore' });
    workshop.keep(stranger);
    files.forEach((file, index) =>
      writeFileSync(file, contents[index]!.replace(String(pid), String(stranger.pid))),
    );
    writeFileSync(join(dataDir, 'socket', '.s.PGSQL.5432'), '');
    await workshop.start(dataDir);
    expect(await query(url, 'SELECT 1')).toBe(1);
    expect(lives(stranger.pid!)).toBe(true);
  });

  it('a cluster whose making was interrupted is made anew', async () => {
    const dataDir = workshop.fresh();
    const { kill } = workshop.owner(dataDir);
    const halfMade = (): string[] =>
      existsSync(dataDir) ? readdirSync(dataDir).filter((name) => name.startsWith('postgres.new-')) : [];
    await eventually('initdb is at work', () =>
      halfMade().some((name) => existsSync(join(dataDir, name, 'base'))),
    );
    await kill();
    expect(existsSync(join(dataDir, 'postgres'))).toBe(false);
    mkdirSync(join(dataDir, 'postgres.new-older', 'base'), { recursive: true });
    expect(await query((await workshop.start(dataDir)).url, 'SELECT 1')).toBe(1);
    await eventually('no initdb is left', () => processesWith(join(dataDir, 'postgres.new-')).length === 0);
    await workshop.tidy();
    await workshop.start(dataDir);
    expect(halfMade()).toEqual([]);
  });
});

asRoot('as root without user namespaces', () => {
  let shared: string;

  const lent = (): Partial<EmbeddedOptions> => ({ identity: 'user', shared });

  function enterable(): string {
    const dir = mkdtempSync(join(tmpdir(), 'm2m-embedded-open-'));
    chmodSync(dir, 0o755);
    return dir;
  }

  beforeAll(() => {
    shared = enterable();
  });

  afterAll(() => {
    rmSync(shared, { recursive: true, force: true });
  });

  it('runs as another user inside the data directory where that one can get there', async () => {
    const open = enterable();
    const dataDir = join(open, 'data');
    try {
      const { url, pid } = await workshop.start(dataDir, lent());
      expect(statSync(`/proc/${pid}`).uid).not.toBe(0);
      await query(url, 'CREATE TABLE kept AS SELECT 7 AS n');
      expect(statSync(dataDir)).toMatchObject({ uid: 0 });
      expect(statSync(dataDir).mode & 0o777).toBe(0o710);
      expect(statSync(join(dataDir, 'postgres')).mode & 0o777).toBe(0o700);
      expect(lstatSync(join(dataDir, 'postgres')).isDirectory()).toBe(true);
      await workshop.tidy();
      // What is there decides, also where user namespaces are to be had again.
      const second = await workshop.start(dataDir, { shared });
      expect(await query(second.url, 'SELECT n FROM kept')).toBe(7);
      await workshop.tidy();
    } finally {
      rmSync(open, { recursive: true, force: true });
    }
  });

  it('keeps the data elsewhere where that user cannot get there', async () => {
    const dataDir = workshop.fresh();
    const first = await workshop.start(dataDir, lent());
    const { url, pid } = first;
    expect(url).toBe(embeddedUrl(dataDir));
    expect(statSync(`/proc/${pid}`).uid).not.toBe(0);
    await query(url, 'CREATE TABLE kept AS SELECT 7 AS n');
    const cluster = readlinkSync(join(dataDir, 'postgres'));
    expect(cluster.startsWith(shared)).toBe(true);
    expect(statSync(join(cluster, '..'))).toMatchObject({ uid: statSync(`/proc/${pid}`).uid });
    expect(statSync(join(cluster, '..')).mode & 0o777).toBe(0o700);
    process.kill(pid, 'SIGKILL');
    await eventually('it is back', () => first.pid !== pid);
    await workshop.tidy();
    expect(await query((await workshop.start(dataDir, lent())).url, 'SELECT n FROM kept')).toBe(7);
    await workshop.tidy();
    rmSync(join(cluster, '..'), { recursive: true });
    await expect(workshop.start(dataDir, lent())).rejects.toThrow(/was kept in .*, which is gone/);
  });

  it('does not begin an empty database beside one that it cannot run', async () => {
    const dataDir = await workshop.prepared();
    const { pid } = await workshop.start(dataDir);
    expect(statSync(`/proc/${pid}`).uid).toBe(0);
    await workshop.tidy();
    await expect(workshop.start(dataDir, lent())).rejects.toThrow(/user namespace.*DATABASE_URL/);
  });
});
