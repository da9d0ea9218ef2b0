import { chmod, chown, lstat, mkdir, mkdtemp, readlink, realpath, rm, stat, symlink } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { copiedBinaries, installedBinaries } from './binaries';
import type { Binaries } from './binaries';
import { EmbeddedError, codeOf } from './errors';
import { canEnter, canRunPlain, namespaceIdentity, ownIdentity, serviceUser } from './identity';
import type { Identity } from './identity';
import { hashOf } from './layout';
import type { Layout } from './layout';

/** A data directory together with how its server runs and where that one keeps its files. */
export interface Home extends Layout {
  readonly identity: Identity;
  readonly binaries: Binaries;
  /** The cluster's real directory. */
  readonly clusterDir: string;
  /** The socket's real directory. */
  readonly listenDir: string;
}

/** What tests choose and others leave alone. */
export interface HomeOptions {
  /** `user` does as if there were no user namespaces. */
  readonly identity?: 'automatic' | 'user' | undefined;
  /** Where a system's user finds programs, and data that cannot be in the data directory. */
  readonly shared?: string | undefined;
}

const SHARED = '/var/lib/m2m-embedded';

async function absentAs<T>(value: T, wanted: Promise<T>): Promise<T> {
  return wanted.catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return value;
    throw error;
  });
}

/** The cluster that is already there decides who the server runs as. */
async function identityOfCluster(
  layout: Layout,
  namespace: Identity | undefined,
): Promise<Identity | undefined> {
  const found = await absentAs<Stats | undefined>(undefined, stat(layout.cluster));
  if (found === undefined) return undefined;
  const own = ownIdentity();
  const place = `the database in ${layout.cluster}`;
  if (found.uid !== own.uid) {
    if (own.uid !== 0)
      throw new EmbeddedError(`${place} belongs to user ${found.uid}, this process is user ${own.uid}`);
    return { kind: 'user', uid: found.uid, gid: found.gid };
  }
  if (canRunPlain()) return own;
  if (namespace !== undefined) return namespace;
  throw new EmbeddedError(
    `${place} belongs to user ${own.uid}, for whom PostgreSQL runs only in a user namespace, which this system does not allow here: give it to another user and start as that one, or set DATABASE_URL`,
  );
}

async function identityFor(layout: Layout, binaries: Binaries, options: HomeOptions): Promise<Identity> {
  const inside = await namespaceIdentity();
  const wanted = options.identity !== 'user' && !canRunPlain();
  const allowed = wanted && (await canEnter(inside, [layout.dataDir, join(binaries.root, 'bin')]));
  const namespace = allowed ? inside : undefined;
  const identity =
    (await identityOfCluster(layout, namespace)) ?? (canRunPlain() ? ownIdentity() : namespace);
  if (identity !== undefined) return identity;
  const user = process.getuid?.() === 0 ? await serviceUser() : undefined;
  if (user !== undefined) return user;
  throw new EmbeddedError(
    'PostgreSQL cannot run as this user, and no other one is at hand: set DATABASE_URL',
  );
}

/** Lets the server's user pass through a private data directory, not list it, where nothing else is in its way. */
async function openFor(identity: Identity, dataDir: string): Promise<boolean> {
  if (await canEnter(identity, [dataDir])) return true;
  const before = await stat(dataDir);
  if ((before.mode & 0o077) !== 0) return false;
  await chown(dataDir, before.uid, identity.gid);
  await chmod(dataDir, (before.mode & 0o7777) | 0o010);
  if (await canEnter(identity, [dataDir])) return true;
  await chown(dataDir, before.uid, before.gid);
  await chmod(dataDir, before.mode & 0o7777);
  return false;
}

/** The directory that a system's user keeps the cluster in. */
async function placeFor(identity: Identity, layout: Layout, shared: string): Promise<string> {
  const link = await absentAs<string | undefined>(undefined, readlink(layout.cluster).catch(notALink));
  if (link !== undefined) {
    const place = dirname(link);
    const there = await absentAs<string | undefined>(undefined, realpath(place));
    // An empty database in its stead would look like the loss of every terminal.
    if (there === undefined)
      throw new EmbeddedError(`the database of ${layout.dataDir} was kept in ${place}, which is gone`);
    return there;
  }
  if (await openFor(identity, layout.dataDir)) return layout.dataDir;
  const place = await mkdtemp(join(shared, `${hashOf(layout.dataDir)}-`));
  await chown(place, identity.uid, identity.gid);
  await symlink(join(place, 'postgres'), layout.cluster);
  return place;
}

function notALink(error: unknown): undefined {
  if (codeOf(error) === 'EINVAL') return undefined;
  throw error;
}

/** A directory nobody but the server's user (and root) can enter; refuses one that somebody else made. */
async function privateDirectory(path: string, identity: Identity): Promise<void> {
  const before = await absentAs<Stats | undefined>(undefined, lstat(path));
  // Led elsewhere when the cluster was elsewhere.
  if (before?.isSymbolicLink() && before.uid === ownIdentity().uid) await rm(path);
  await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  const trusted = [ownIdentity().uid, identity.uid];
  if (!found.isDirectory() || !trusted.includes(found.uid)) {
    throw new EmbeddedError(
      `${path} is needed for the socket, and user ${found.uid} has put something else there`,
    );
  }
  if (found.uid !== identity.uid) await chown(path, identity.uid, identity.gid);
  await chmod(path, 0o700);
}

/** Makes the place that the URL names lead to the directory the server listens in. */
async function leadTo(listenDir: string, layout: Layout): Promise<void> {
  const found = await absentAs<Stats | undefined>(undefined, lstat(layout.socketDir));
  if (found !== undefined && found.uid !== ownIdentity().uid) {
    throw new EmbeddedError(
      `${layout.socketDir} is needed for the socket, and user ${found.uid} has put something there`,
    );
  }
  await rm(layout.socketDir, { recursive: true, force: true });
  if (listenDir !== layout.socketDir) await symlink(listenDir, layout.socketDir);
}

async function homeOfUser(
  layout: Layout,
  identity: Identity,
  binaries: Binaries,
  shared: string,
): Promise<Home> {
  const copied = await copiedBinaries(binaries, shared);
  const place = await placeFor(identity, layout, shared);
  const listenDir = place === layout.dataDir ? layout.socketDir : join(place, 'socket');
  if (listenDir !== layout.socketDir) await leadTo(listenDir, layout);
  await privateDirectory(listenDir, identity);
  return { ...layout, identity, binaries: copied, clusterDir: join(place, 'postgres'), listenDir };
}

/** Decides who the server of a data directory runs as and prepares the places it needs. */
export async function settle(layout: Layout, options: HomeOptions): Promise<Home> {
  const binaries = await installedBinaries();
  const identity = await identityFor(layout, binaries, options);
  if (identity.kind === 'user') return homeOfUser(layout, identity, binaries, options.shared ?? SHARED);
  await privateDirectory(layout.socketDir, identity);
  return { ...layout, identity, binaries, clusterDir: layout.cluster, listenDir: layout.socketDir };
}
