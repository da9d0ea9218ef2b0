/**
 * Which keys a database is sealed under. Each leaves a sealed check value there before it is first used: a key file
 * that lacks one of these keys, or has another one under its id, does not fit.
 */
import type { QueryArrayResult } from 'pg';
import { seal, unseal, UnsealError, type KeyRing } from '../../crypto/sealing';
import type { KeyKeeper } from '../keys/keyKeeper';

/** A gateway's database, or a command's connection. */
interface Querying {
  query(statement: { text: string; values?: unknown[] }): Promise<QueryArrayResult<unknown[]>>;
}

const CHECK = Buffer.from('m2m sealing key check', 'latin1');

/** Milliseconds. */
const LOOK_AGAIN = 100;

const GATEWAY_STATEMENTS = `SELECT FROM pg_stat_activity WHERE datname = current_database()
  AND application_name = 'm2m-gateway' AND pid <> pg_backend_pid() AND state = 'active' AND query_start < $1::timestamptz`;

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

/**
 * Resolves when every statement of a gateway that is under way now has ended: what it writes may have been sealed
 * under the key before, and is not seen yet.
 */
export async function statementsEnded(database: Querying): Promise<void> {
  const { rows } = await database.query({ text: 'SELECT clock_timestamp()::text' });
  const underWay = async () => {
    const { rowCount } = await database.query({ text: GATEWAY_STATEMENTS, values: [rows[0]?.[0]] });
    return rowCount !== 0;
  };
  while (await underWay()) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
}

/** Forgets keys under which nothing is sealed any more: a key file without them fits. */
export async function forgetSealingKeys(database: Querying, ids: readonly string[]): Promise<void> {
  await database.query({
    text: `DELETE FROM m2m.sealing_key WHERE encode(key_id, 'hex') = ANY ($1)`,
    values: [ids],
  });
}
