import { readdir, readlink, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { DataDirectoryInUse, codeOf } from './errors';
import type { Layout } from './layout';
import { makeFolder } from './makeFolder';
import { bootId, isAlive, startOf } from './processes';

/*
 * Claims are numbered, and the highest one counts. A claim is a symbolic link whose target tells the
 * process: making one is atomic, fails where it exists, and it is never seen half written. Taking over
 * from a dead owner, and giving up, is making the next number, so two can never do it both, and nobody
 * ever removes the highest: a slow process that makes a number already passed sees the higher one.
 */

/** The data directory belongs to this process until released. */
export interface Ownership {
  release(): Promise<void>;
}

interface Claim {
  readonly number: number;
  readonly owner: string;
}

const FREE = 'free';

function ownMark(): string {
  return `pid=${process.pid} started=${startOf(process.pid)} boot=${bootId()}`;
}

/** The living process a claim stands for. */
function holderOf(claim: Claim | undefined): number | undefined {
  const [, pid, started, boot] = /^pid=(\d+) started=(\d*) boot=(\S*)$/.exec(claim?.owner ?? '') ?? [];
  if (pid === undefined || boot !== bootId() || !isAlive(Number(pid))) return undefined;
  return startOf(Number(pid)) === started ? Number(pid) : undefined;
}

async function numbersIn(claims: string): Promise<number[]> {
  const names = await readdir(claims).catch(() => [] as string[]);
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

async function highest(claims: string): Promise<Claim | undefined> {
  for (;;) {
    const number = (await numbersIn(claims)).at(-1);
    if (number === undefined) return undefined;
    const owner = await readlink(join(claims, String(number))).catch((error: unknown) => {
      // Passed and removed since it was listed.
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (owner !== undefined) return { number, owner };
  }
}

/** Makes a claim and says whether it counts. */
async function claim(claims: string, number: number, owner: string): Promise<boolean> {
  const path = join(claims, String(number));
  try {
    await symlink(owner, path);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  if ((await numbersIn(claims)).at(-1) === number) return true;
  await unlink(path).catch(() => undefined);
  return false;
}

async function forgetBefore(claims: string, number: number): Promise<void> {
  const passed = (await numbersIn(claims)).filter((each) => each < number);
  await Promise.all(passed.map((each) => unlink(join(claims, String(each))).catch(() => undefined)));
}

async function release(claims: string, number: number): Promise<void> {
  await symlink(FREE, join(claims, String(number + 1))).catch((error: unknown) => {
    // Nothing is left to give up where the data directory was removed under a running server.
    if (codeOf(error) !== 'ENOENT') throw error;
  });
  await forgetBefore(claims, number + 1);
}

/** Takes the data directory for this process, from its last owner where that one is dead. */
export async function takeOwnership(layout: Layout): Promise<Ownership> {
  makeFolder(layout.claims);
  for (;;) {
    const last = await highest(layout.claims);
    const holder = holderOf(last);
    if (holder !== undefined) throw new DataDirectoryInUse(layout.dataDir, holder);
    const number = (last?.number ?? 0) + 1;
    if (!(await claim(layout.claims, number, ownMark()))) continue;
    await forgetBefore(layout.claims, number);
    return { release: () => release(layout.claims, number) };
  }
}

/** The living process that has the data directory. */
export async function currentOwner(layout: Layout): Promise<number | undefined> {
  return holderOf(await highest(layout.claims));
}
