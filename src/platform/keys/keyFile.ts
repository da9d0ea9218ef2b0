/**
 * The gateway's own keys: a JSON file that only its owner may read.
 *
 *     { "version": 1, "sealing": [ { "id": "8 hex digits", "key": "64 hex digits", "created": RFC 3339 }, … ],
 *       "packet": [ … the same … ] }
 *
 * The last key of a list is the one in use; older ones still open what was made under them.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { SealingKey } from '../../crypto/sealing';

/** Names the setting and the file, whose path may be relative to a folder that its reader does not know. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';

  constructor(path: string, problem: string) {
    super(`M2M_KEY_FILE: key file ${resolve(path)}: ${problem}`);
  }
}

export interface GatewayKeys {
  readonly sealing: readonly SealingKey[];
  /** For credential packets of two-way login. */
  readonly packet: readonly SealingKey[];
}

const keyEntry = z.object({
  id: z.string().regex(/^[0-9a-f]{8}$/, '8 lower-case hexadecimal digits'),
  key: z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hexadecimal digits'),
  created: z.iso.datetime(),
});
const keyList = z
  .array(keyEntry)
  .min(1, 'at least one key')
  .refine((keys) => new Set(keys.map(({ id }) => id)).size === keys.length, 'ids that differ');
const keyFile = z.object({ version: z.literal(1), sealing: keyList, packet: keyList });

/** Which lists of keys a file has. */
export const KEY_KINDS = ['sealing', 'packet'] as const;
export type KeyKind = (typeof KEY_KINDS)[number];

/** A key without what is secret about it. */
export interface KeyInfo {
  readonly kind: KeyKind;
  readonly id: string;
  /** RFC 3339. */
  readonly created: string;
}

/** Reads and checks a key file. Throws a KeyFileError that names the file and what is wrong, never a key. */
export function readKeyFile(path: string): GatewayKeys {
  const { sealing, packet } = readContent(path);
  return { sealing: sealing.map(opened), packet: packet.map(opened) };
}

/** As readKeyFile, for people. Each list oldest first. */
export function readKeyInfo(path: string): KeyInfo[] {
  const content = readContent(path);
  return KEY_KINDS.flatMap((kind) => content[kind].map(({ id, created }) => ({ kind, id, created })));
}

/** Adds a new key to each of the lists; who is killed meanwhile leaves the file as it was. */
export function addKeys(link: string, kinds: readonly KeyKind[]): KeyInfo[] {
  const path = linkedTo(link);
  return alone(path, () => {
    const content = readContent(path);
    const added = kinds.map((kind) => ({ kind, ...freshKey() }));
    for (const { kind, id, key, created } of added) content[kind].push({ id, key, created });
    replace(path, content);
    return added.map(({ kind, id, created }) => ({ kind, id, created }));
  });
}

/** Or the link would become a file of its own, and who reads the other one would not have the new keys. */
function linkedTo(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new KeyFileError(path, readFlaw(error));
  }
}

/** Of two who add keys at once one would lose the other's, under which a gateway may have sealed by then. */
function alone<T>(path: string, work: () => T): T {
  const lock = `${path}.lock`;
  let held: number;
  try {
    held = openSync(lock, 'wx', 0o600);
  } catch (error) {
    const code = codeOf(error);
    const flaw = code === 'EEXIST' ? lockedFlaw(lock) : `nothing can be written beside it: ${code}`;
    throw new KeyFileError(path, flaw);
  }
  try {
    return work();
  } finally {
    closeSync(held);
    rmSync(lock, { force: true });
  }
}

function lockedFlaw(lock: string): string {
  return `somebody else is adding keys; if nobody is, one was cut off: delete ${resolve(lock)}`;
}

function replace(path: string, content: z.infer<typeof keyFile>): void {
  const unfinished = writeUnfinished(path, content, statSync(path));
  try {
    renameSync(unfinished, path);
  } catch (error) {
    unlinkSync(unfinished);
    throw new KeyFileError(path, `cannot be replaced: ${codeOf(error)}`);
  }
  syncFolder(path);
}

function readContent(path: string): z.infer<typeof keyFile> {
  const text = readPrivate(path);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new KeyFileError(path, 'not JSON');
  }
  const parsed = keyFile.safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new KeyFileError(path, `${issue?.path.join('.') || 'content'}: ${issue?.message ?? 'invalid'}`);
}

/**
 * Makes a key file with new keys, mode 0600, unless one is there already: then that one stands.
 *
 * @returns whether it was made
 */
export function makeKeyFile(path: string): boolean {
  const unfinished = writeUnfinished(path, { version: 1, sealing: [freshKey()], packet: [freshKey()] });
  try {
    // A link never replaces: of two that start at once, one makes the keys and both use them.
    linkSync(unfinished, path);
    syncFolder(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new KeyFileError(path, `cannot be made: ${codeOf(error)}`);
  } finally {
    unlinkSync(unfinished);
  }
}

/**
 * @param before the file that will be replaced
 * @returns the path of a whole file beside the one to be made or replaced
 */
function writeUnfinished(path: string, content: z.infer<typeof keyFile>, before?: Stats): string {
  // Not the process's number: what a start was killed over would be in the way of the next one, which in a container has
  // the same.
  const unfinished = `${path}.${randomBytes(4).toString('hex')}.new`;
  const file = openNew(unfinished, path);
  try {
    fchmodSync(file, 0o600);
    // Root may do it for a gateway that is not.
    if (before !== undefined && before.uid !== fstatSync(file).uid) fchownSync(file, before.uid, before.gid);
    writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
    fsyncSync(file);
  } catch (error) {
    unlinkSync(unfinished);
    throw new KeyFileError(path, `cannot be written: ${codeOf(error)}`);
  } finally {
    closeSync(file);
  }
  return unfinished;
}

/** A name is on storage when its folder is: the database, which is, must not be sealed under a key that a power cut takes. */
function syncFolder(path: string): void {
  try {
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch {
    // Not every file system can; the file is there all the same.
  }
}

function openNew(unfinished: string, path: string): number {
  try {
    return openSync(unfinished, 'wx', 0o600);
  } catch (error) {
    throw new KeyFileError(path, `cannot be written: ${codeOf(error)}`);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function readPrivate(path: string): string {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw new KeyFileError(path, `others may read it (mode ${octal}); chmod 600 it`);
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof KeyFileError) throw error;
    throw new KeyFileError(path, readFlaw(error));
  }
}

function readFlaw(error: unknown): string {
  const code = codeOf(error);
  return code === 'ENOENT' ? 'ENOENT, it is not there; m2m keys init makes one' : code;
}

function opened({ id, key }: { id: string; key: string }): SealingKey {
  return { id, key: Buffer.from(key, 'hex') };
}

function freshKey(): z.infer<typeof keyEntry> {
  return {
    id: randomBytes(4).toString('hex'),
    key: randomBytes(32).toString('hex'),
    created: new Date().toISOString(),
  };
}
