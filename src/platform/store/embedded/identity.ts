import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';

/**
 * Who the server runs as. PostgreSQL refuses root, and initdb refuses a user number without a name.
 * `plain`: as this process. `namespace`: as this process, which looks like another user from inside a
 * user namespace. `user`: as another user of the system.
 */
export type Identity =
  | { readonly kind: 'plain'; readonly uid: number; readonly gid: number }
  | { readonly kind: 'namespace'; readonly uid: number; readonly gid: number; readonly inside: UserIds }
  | { readonly kind: 'user'; readonly uid: number; readonly gid: number };

/** Numbers of a user. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

interface NamedUser extends UserIds {
  readonly name: string;
}

/** What to spawn so that a program runs under an identity. */
export interface Command {
  readonly file: string;
  readonly args: string[];
  readonly ids: Partial<UserIds>;
}

/** A program's call under an identity. */
export function commandFor(identity: Identity, file: string, args: string[]): Command {
  if (identity.kind === 'plain') return { file, args, ids: {} };
  if (identity.kind === 'user') return { file, args, ids: { uid: identity.uid, gid: identity.gid } };
  const { uid, gid } = identity.inside;
  return {
    file: 'unshare',
    args: ['--user', `--map-user=${uid}`, `--map-group=${gid}`, file, ...args],
    ids: {},
  };
}

/** This process as the server's identity. */
export function ownIdentity(): Identity {
  return { kind: 'plain', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

/** Whether initdb and the server would run as this process does. */
export function canRunPlain(): boolean {
  if (process.getuid?.() === 0) return false;
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

async function namedUsers(): Promise<NamedUser[]> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return passwd.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    return name && Number(uid) > 0 && gid ? [{ name, uid: Number(uid), gid: Number(gid) }] : [];
  });
}

/** This process inside a user namespace, as a user that has a name there. */
export async function namespaceIdentity(): Promise<Identity> {
  const users = await namedUsers();
  const inside = users.find(({ uid }) => uid === 1000) ?? users[0] ?? { uid: 1000, gid: 1000 };
  return { ...ownIdentity(), kind: 'namespace', inside: { uid: inside.uid, gid: inside.gid } };
}

/** The system's user for a server that root starts. */
export async function serviceUser(): Promise<Identity | undefined> {
  const users = await namedUsers();
  const found = users.find(({ name }) => name === 'postgres') ?? users.find(({ name }) => name === 'nobody');
  return found && { kind: 'user', uid: found.uid, gid: found.gid };
}

/** Whether programs can run under this identity at all and enter these directories. */
export function canEnter(identity: Identity, directories: string[]): Promise<boolean> {
  const script = 'for each; do cd "$each" || exit 1; done';
  const { file, args, ids } = commandFor(identity, '/bin/sh', ['-c', script, 'sh', ...directories]);
  return new Promise((resolve) => {
    execFile(file, args, { cwd: '/', timeout: 120_000, ...ids }, (error) => resolve(error === null));
  });
}
