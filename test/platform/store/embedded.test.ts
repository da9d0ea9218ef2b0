import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import {
  DataDirectoryInUse,
  EmbeddedError,
  embeddedStatus,
  embeddedUrl,
  ensureLibraryLinks,
} from '../../../src/platform/store/embedded';
import { packageRoot } from '../../../src/platform/store/embedded/binaries';
import { boundLog } from '../../../src/platform/store/embedded/log';
import { eventually } from '../../support/eventually';
import { FAST, Workshop, lives, processesWith, query } from '../../support/workshop';

jest.setTimeout(400_000);

const workshop = new Workshop();

afterEach(() => workshop.tidy());

afterAll(() => {
  workshop.close();
});

const withProc = existsSync('/proc/self/stat') ? it : it.skip;

describe('the URL', () => {
  it('follows from the path alone', () => {
    const dataDir = workshop.fresh();
    const url = embeddedUrl(dataDir);
    expect(url).toBe(`postgresql://m2m@/m2m?host=${encodeURIComponent(join(dataDir, 'socket'))}&port=5432`);
    expect(embeddedUrl(relative(process.cwd(), dataDir))).toBe(url);
    mkdirSync(dataDir);
    symlinkSync(dataDir, `${dataDir}-link`);
    expect(embeddedUrl(`${dataDir}-link`)).toBe(url);
  });

  it.each([
    ['a long path', 'x'.repeat(120)],
    ['a path with a comma', 'a,b'],
    ['a path with what URLs escape', 'a b%2Fé&+#?=x'],
  ])('serves node-pg and psql with %s', async (_, name) => {
    const dataDir = await workshop.prepared(name);
    const before = embeddedUrl(dataDir);
    const { url } = await workshop.start(dataDir);
    expect([embeddedUrl(dataDir), url]).toEqual([before, before]);
    expect(await query(url, 'SELECT current_user::text')).toBe('m2m');
    const psql = spawnSync('psql', ['-X', '-A', '-t', url, '-c', 'SELECT current_database()'], {
      encoding: 'utf8',
    });
    if (psql.error === undefined) expect(psql.stdout.trim()).toBe('m2m');
    const socketDir = new URL(url.replace('@/', '@x/')).searchParams.get('host')!;
    expect(Buffer.byteLength(`${socketDir}/.s.PGSQL.5432`)).toBeLessThanOrEqual(107);
    expect(statSync(socketDir).mode & 0o777).toBe(0o700);
    await workshop.tidy();
    rmSync(socketDir, { recursive: true, force: true });
  });

  it('refuses a directory for the socket that somebody else has put there', async () => {
    const dataDir = workshop.fresh('y'.repeat(120));
    const socketDir = new URL(embeddedUrl(dataDir).replace('@/', '@x/')).searchParams.get('host')!;
    writeFileSync(socketDir, '');
    try {
      await expect(workshop.start(dataDir)).rejects.toThrow(`${socketDir} is needed for the socket`);
    } finally {
      rmSync(socketDir);
    }
  });
});

describe('a server', () => {
  it('listens on a private socket only, keeps what it is told, and keeps secrets out of its log', async () => {
    const dataDir = workshop.fresh();
    const { url } = await workshop.start(dataDir, { parameters: { ...FAST, work_mem: '5MB', jit: 'on' } });
    const settings: Record<string, string> = {
      listen_addresses: '',
      fsync: 'off',
      work_mem: '5MB',
      jit: 'on',
      synchronous_commit: 'on',
      max_connections: '200',
      server_encoding: 'UTF8',
      log_min_error_statement: 'panic',
      log_statement: 'none',
      log_parameter_max_length_on_error: '0',
      unix_socket_permissions: '0700',
    };
    for (const [name, value] of Object.entries(settings))
      expect([name, await query(url, `SHOW ${name}`)]).toEqual([name, value]);
    expect(
      await query(url, "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'm2m'"),
    ).toBe('bC.UTF-8');
    for (const path of ['', 'socket', 'postgres']) expect(statSync(join(dataDir, path)).mode & 0o077).toBe(0);
    await expect(query(url, "SELECT 'wort1'::text, wort2('wort3')")).rejects.toThrow();
    await query(url, "CREATE TABLE t (secret text CHECK (secret = ''))");
    await expect(query(url, "INSERT INTO t VALUES ('wort4')")).rejects.toThrow('t_secret_check');
    const log = readFileSync(join(dataDir, 'postgres.log'), 'utf8');
    expect(log).toContain('t_secret_check');
    expect(log).not.toMatch(/wort[134]/);
  });

  it('syncs to disk unless told otherwise', async () => {
    const { url } = await workshop.start(await workshop.prepared(), { parameters: {} });
    expect(await query(url, 'SHOW fsync')).toBe('on');
  });

  it('stops for good, as often as it is told to, and comes back with its data at the same URL', async () => {
    const dataDir = await workshop.prepared();
    expect(await embeddedStatus(dataDir)).toBe('stopped');
    const first = await workshop.start(dataDir);
    expect(await embeddedStatus(dataDir)).toBe('running');
    await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS n');
    await Promise.all([first.stop(), first.stop()]);
    await first.stop();
    expect(lives(first.pid)).toBe(false);
    await eventually('no process is left', () => processesWith(dataDir).length === 0);
    expect(await embeddedStatus(dataDir)).toBe('stopped');
    const second = await workshop.start(dataDir);
    expect(second.url).toBe(first.url);
    expect(await query(second.url, 'SELECT n FROM kept')).toBe(7);
  });

  it('is out of reach of the signals of the terminal', async () => {
    const { pid } = await workshop.start(await workshop.prepared());
    const [group, own] = [pid, process.pid].map((each) =>
      execFileSync('ps', ['-o', 'pgid=', '-p', String(each)], { encoding: 'utf8' }).trim(),
    );
    expect(group).not.toBe(own);
  });

  it('says in one line why it does not start, and leaves the directory free', async () => {
    const dataDir = await workshop.prepared();
    await (await workshop.start(dataDir)).stop();
    const failed = await workshop
      .start(dataDir, { parameters: { shared_buffers: 'plenty' } })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(EmbeddedError);
    expect((failed as Error).message).toMatch(/does not start: it ended with code 1: .*shared_buffers/);
    expect((failed as Error).message).not.toContain('\n');
    await eventually('no process is left', () => processesWith(dataDir).length === 0);
    expect(await query((await workshop.start(dataDir)).url, 'SELECT 1')).toBe(1);
  });

  it('is told apart from one that cannot be set up', async () => {
    const file = workshop.fresh();
    writeFileSync(file, '');
    await expect(workshop.start(file)).rejects.toThrow(EmbeddedError);
  });

  it('names the versions where another PostgreSQL made the database', async () => {
    const dataDir = await workshop.prepared();
    writeFileSync(join(dataDir, 'postgres', 'PG_VERSION'), '12\n');
    await expect(workshop.start(dataDir)).rejects.toThrow(
      /^M2M_DATA_DIR: the database in .* was made by PostgreSQL 12, and this release has \d\d: .*pg_dump/,
    );
  });

  withProc('does not try for ever where nothing can be made', async () => {
    for (const dataDir of ['/proc', '/proc/nowhere'])
      await expect(workshop.start(dataDir)).rejects.toThrow(/cannot be started: ENOENT/);
  });

  it('comes back by itself when it dies, and says so once', async () => {
    const said: string[] = [];
    const server = await workshop.start(await workshop.prepared(), {
      onUnexpectedExit: (why) => said.push(why),
    });
    const first = server.pid;
    await query(server.url, 'CREATE TABLE kept AS SELECT 7 AS n');
    process.kill(first, 'SIGKILL');
    await eventually('it is back', () => server.pid !== first);
    expect(await query(server.url, 'SELECT n FROM kept')).toBe(7);
    expect(said).toEqual([expect.stringMatching(/is gone: it was killed by signal 9/)]);
    const second = server.pid;
    process.kill(second, 'SIGKILL');
    await server.stop();
    expect(lives(server.pid)).toBe(false);
    expect(said.length).toBeLessThanOrEqual(2);
  });

  it('comes back at once where the clock was set back meanwhile', async () => {
    const server = await workshop.start(await workshop.prepared());
    const first = server.pid;
    const atThatTime = Date.now();
    const clock = jest.spyOn(Date, 'now').mockReturnValue(atThatTime - 3_600_000);
    try {
      process.kill(first, 'SIGKILL');
      const begun = performance.now();
      while (server.pid === first && performance.now() - begun < 240_000)
        await new Promise((resolve) => setTimeout(resolve, 20));
      expect(server.pid).not.toBe(first);
    } finally {
      clock.mockRestore();
    }
  });
});

describe('a data directory', () => {
  it('belongs to one process, which the others are told', async () => {
    const dataDir = await workshop.prepared();
    const { child, next } = workshop.owner(dataDir);
    expect((await next()).pid).toBeGreaterThan(0);
    const refused = await workshop.start(dataDir).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(DataDirectoryInUse);
    expect(refused).toMatchObject({
      pid: child.pid,
      message: expect.stringContaining(String(child.pid)) as string,
    });
    expect(await embeddedStatus(dataDir)).toBe('running');
    child.stdin!.end();
    await once(child, 'exit');
    expect(await embeddedStatus(dataDir)).toBe('stopped');
    await workshop.start(dataDir);
    await expect(workshop.start(dataDir)).rejects.toThrow(DataDirectoryInUse);
  });

  it('goes to exactly one of many that start at once, also when its last owner is dead', async () => {
    const dataDir = await workshop.prepared();
    for (let round = 0; round < 2; round += 1) {
      const owners = Array.from({ length: 6 }, () => workshop.owner(dataDir));
      const said = await Promise.all(owners.map(({ next }) => next()));
      const winner = said.findIndex(({ pid }) => pid !== undefined);
      const losers = said.filter((_, index) => index !== winner);
      const message = expect.stringContaining(`by process ${owners[winner]?.child.pid}`) as string;
      expect(losers).toEqual(Array(5).fill({ name: 'DataDirectoryInUse', message }));
      await Promise.all(owners.map(({ kill }) => kill()));
    }
  });

  withProc('is free when its owner is dead, whoever has the process number now', async () => {
    const dataDir = await workshop.prepared();
    await (await workshop.start(dataDir)).stop();
    const claims = join(dataDir, 'postgres.owner');
    const last = Math.max(...readdirSync(claims).map(Number));
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    symlinkSync(`pid=${process.ppid} started=1 boot=${boot}`, join(claims, String(last + 1)));
    expect(await embeddedStatus(dataDir)).toBe('stopped');
    expect(await query((await workshop.start(dataDir)).url, 'SELECT 1')).toBe(1);
    expect(readdirSync(claims)).toEqual([String(last + 2)]);
  });
});

describe('the package with the programs', () => {
  function imitation(): string {
    const root = workshop.fresh('package');
    for (const dir of ['lib', 'bin']) mkdirSync(join(root, 'native', dir), { recursive: true });
    for (const name of ['lib/libx.so.1.2', 'bin/postgres', 'bin/initdb']) {
      writeFileSync(join(root, 'native', name), '', { mode: 0o644 });
    }
    const links = ['native/lib/libx.so', 'native/lib/libx.so.1'].map((target) => ({
      source: 'native/lib/libx.so.1.2',
      target,
    }));
    writeFileSync(join(root, 'native', 'pg-symlinks.json'), JSON.stringify(links));
    return root;
  }

  it('gets its links and execute bits, however many processes make them at once', async () => {
    const root = imitation();
    await Promise.all(Array.from({ length: 10 }, () => ensureLibraryLinks(root)));
    await ensureLibraryLinks(root);
    expect(readlinkSync(join(root, 'native/lib/libx.so'))).toBe('libx.so.1.2');
    expect(readlinkSync(join(root, 'native/lib/libx.so.1'))).toBe('libx.so.1.2');
    for (const name of ['postgres', 'initdb'])
      expect(statSync(join(root, 'native/bin', name)).mode & 0o111).toBe(0o111);
  });

  it('may be read-only once they are there, and is refused in words before', async () => {
    const ready = imitation();
    await ensureLibraryLinks(ready);
    const broken = imitation();
    rmSync(join(broken, 'native/lib'), { recursive: true });
    chmodSync(join(ready, 'native/lib'), 0o555);
    await ensureLibraryLinks(ready);
    chmodSync(join(ready, 'native/lib'), 0o755);
    await expect(ensureLibraryLinks(broken)).rejects.toThrow(/library links of .* cannot be made/);
  });

  it('is named where a platform has none', () => {
    expect(() => packageRoot('plan9', 'vax')).toThrow(/plan9-vax.*set DATABASE_URL/);
    expect(existsSync(join(packageRoot(), 'native', 'bin', 'postgres'))).toBe(true);
  });
});

describe('the log', () => {
  it('stays below its bound, the newest part kept whole', async () => {
    const log = workshop.fresh('log');
    writeFileSync(log, 'a'.repeat(100));
    await boundLog(log, 100);
    expect(statSync(log).size).toBe(100);
    appendFileSync(log, 'b');
    await boundLog(log, 100);
    expect(statSync(log).size).toBe(0);
    expect(readFileSync(`${log}.1`, 'utf8')).toBe(`${'a'.repeat(100)}b`);
    await boundLog(workshop.fresh('none'), 100);
  });
});
