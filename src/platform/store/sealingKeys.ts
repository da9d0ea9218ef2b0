/**
 * Which keys a database is sealed under. Each leaves a sealed check value there before it is first used: a key file
 * that lacks one of these keys, or has another one under its id, does not fit.
 */
import { seal, unseal, UnsealError, type KeyRing } from '../../crypto/sealing';
import type { KeyKeeper } from '../keys/keyKeeper';
import type { Querying } from './probe';

const CHECK = Buffer.from('m2m sealing key check', 'latin1');

/** Milliseconds. */
const LOOK_AGAIN = 100;

/** A gateway's statement that takes longer may have others waiting behind it in their process. */
const LONG = 1_000;
/** Until whoever waits is told for what. */
const TELL_AFTER = 3_000;

/**
 * Transactions of gateways, by what never comes again. The locks on them are shown to everybody, also those of other
 * users and where track_activities is off. A DATABASE_URL may name its connections otherwise; it is the gateways' URL.
 */
const UNDER_WAY = `
  SELECT l.virtualtransaction, l.pid FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
  WHERE l.locktype = 'virtualxid' AND l.virtualxid = l.virtualtransaction AND a.datname = current_database()
    AND a.application_name IN ('m2m-gateway', current_setting('application_name')) AND a.pid <> pg_backend_pid()`;

/** Seconds after whose last heartbeat a gateway counts as gone. */
const LIVING = 30;

export class KeysDoNotFit extends Error {
  override readonly name = 'KeysDoNotFit';
}

/** Throws KeysDoNotFit. @returns ids of the keys that the database knows */
export async function checkSealingKeys(database: Querying, ring: KeyRing): Promise<Set<string>> {
  const { rows } = await database.query({
    text: `SELECT encode(key_id, 'hex'), check_value FROM m2m.sealing_key`,
  });
  for (const [id, value] of rows as [string, Buffer][]) checkKey(ring, id, value);
  return new Set(rows.map(([id]) => id as string));
}

function checkKey(ring: KeyRing, id: string, value: Buffer): void {
  try {
    if (unseal(ring, 'check', id, value).equals(CHECK)) return;
  } catch (error) {
    if (!(error instanceof UnsealError)) throw error;
  }
  const what = ring.byId.has(id) ? `its key ${id} is another one` : `it holds no key ${id}`;
  throw new KeysDoNotFit(
    `the key file does not fit this database, which holds values sealed under key ${id}: ${what}`,
  );
}

/** Notes that values may be sealed under this key from now on: no gateway starts without it any more. */
export async function registerSealingKey(database: Querying, ring: KeyRing, id: string): Promise<void> {
  const key = ring.byId.get(id);
  if (key === undefined) throw new RangeError(`no key ${id}`);
  const value = seal({ newest: key, byId: ring.byId }, 'check', id, CHECK);
  await database.query({
    text: 'INSERT INTO m2m.sealing_key (key_id, check_value) VALUES ($1, $2) ON CONFLICT DO NOTHING',
    values: [Buffer.from(id, 'hex'), value],
  });
}

/** Names of living gateways that do not hold a sealing key yet. */
export async function gatewaysWithout(database: Querying, id: string): Promise<string[]> {
  const { rows } = await database.query({
    text: `SELECT DISTINCT gateway FROM m2m.instance
      WHERE seen_at > now() - make_interval(secs => ${LIVING}) AND key_ids <> '{}' AND NOT key_ids @> ARRAY[$1]`,
    values: [id],
  });
  return rows.map(([gateway]) => gateway as string);
}

/** Seals under a new key of the file once every living gateway holds it. @returns its id, where it has come to that */
export async function advanceSealingKey(database: Querying, keeper: KeyKeeper): Promise<string | undefined> {
  const { candidate } = keeper;
  if (candidate === undefined || (await gatewaysWithout(database, candidate.id)).length > 0) return undefined;
  await registerSealingKey(database, keeper.ring(), candidate.id);
  keeper.use(candidate.id);
  return candidate.id;
}

interface Waiting {
  /** Milliseconds in all. */
  readonly patience: number;
  /** Told of server processes that are waited for for long. */
  readonly onLong: (pids: readonly number[]) => void;
}

/**
 * Resolves when every statement of a gateway that is under way now has ended: what it writes may have been sealed
 * under the key before, and is not seen yet. Throws where one does not end.
 */
export async function statementsEnded(database: Querying, { patience, onLong }: Waiting): Promise<void> {
  const deadline = performance.now() + patience;
  while ((await theseEnded(database, { deadline, onLong })) > LONG);
}

/** @returns milliseconds that it took */
async function theseEnded(
  database: Querying,
  { deadline, onLong }: Pick<Waiting, 'onLong'> & { readonly deadline: number },
): Promise<number> {
  const begun = performance.now();
  let left = await underWay(database);
  for (let told = false; left.size > 0; left = stillThere(left, await underWay(database))) {
    const pids = [...left.values()];
    if (performance.now() > deadline) throw new Error(doesNotEnd(pids));
    if (!told && performance.now() - begun > TELL_AFTER) {
      onLong(pids);
      told = true;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
  }
  return performance.now() - begun;
}

function doesNotEnd(pids: readonly number[]): string {
  const pid = pids.join(', ');
  return (
    `nothing was sealed anew: what a gateway has under way, pid ${pid} in pg_stat_activity, does not end; ` +
    'see pg_blocking_pids for who holds it up, end one of them with SELECT pg_terminate_backend(pid), and run this again'
  );
}

async function underWay(database: Querying): Promise<Map<string, number>> {
  const { rows } = await database.query({ text: UNDER_WAY });
  return new Map(rows.map(([transaction, pid]) => [transaction as string, pid as number]));
}

function stillThere(
  left: ReadonlyMap<string, number>,
  now: ReadonlyMap<string, number>,
): Map<string, number> {
  return new Map([...left].filter(([transaction]) => now.has(transaction)));
}

/** Forgets keys under which nothing is sealed any more: a key file without them fits. */
export async function forgetSealingKeys(database: Querying, ids: readonly string[]): Promise<void> {
  await database.query({
    text: `DELETE FROM m2m.sealing_key WHERE encode(key_id, 'hex') = ANY ($1)`,
    values: [ids],
  });
}
