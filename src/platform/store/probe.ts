/** The look whether the server can be used, and what is in its database is for this gateway. */
import type { Client, PoolConfig, QueryArrayResult } from 'pg';
import { OwnConnection } from './connections';
import { isAway, isForbidden, isMisfit } from './databaseErrors';
import { schemaVersion } from './migrate';

/** That statements of the store name: all must be there. Which there are is a test's to say. */
export const TABLES = [
  'change',
  'credential',
  'failure',
  'instance',
  'sealing_key',
  'session',
  'sms_outbox',
  'terminal',
  'terminal_import',
  'throttle',
];
/** By the catalog, which waits for nobody's lock; the one read of a table is given up, and that proves that it is there. */
const SCHEMA = `
  SELECT string_agg('m2m.' || name, ', ') FILTER (WHERE NOT has_table_privilege('m2m.' || name, 'SELECT')),
    (SELECT max(version) FROM m2m.migration)
  FROM unnest($1::text[]) AS name`;

export interface Querying {
  query(statement: { text: string; values?: unknown[] }): Promise<QueryArrayResult<unknown[]>>;
}

/** @returns why what is in a database is not for this gateway; undefined: it is */
export type Misfit = (database: Querying) => Promise<string | undefined>;

/** Whether the server can be used. `unfit`: it is there, and what is wrong is for somebody to mend. */
export interface Probed {
  readonly usable: boolean;
  readonly unfit?: string | undefined;
}

/**
 * Whether the server can be used: it holds the schema, and it commits. One whose disk is full, or that waits for a
 * standby, reads as well as ever; so something is committed that changes nothing. Never throws.
 */
export async function probe(settings: PoolConfig, misfit: Misfit): Promise<Probed> {
  const own = new OwnConnection(settings);
  let isOpen = false;
  try {
    await own.open();
    isOpen = true;
    return await look(own.client, misfit);
  } catch (error) {
    // Any other error than those of a server that is away proves that it is there.
    return { usable: isOpen && !isAway(error) };
  } finally {
    own.close();
  }
}

async function look(client: Client, misfit: Misfit): Promise<Probed> {
  const { rows } = await client.query<[boolean]>({
    text: "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
    rowMode: 'array',
  });
  if (rows[0]?.[0] === true) return { usable: false };
  const schema = await lookAtSchema(client);
  if (!schema.usable) return schema;
  const unfit = await misfit({ query: (statement) => client.query({ ...statement, rowMode: 'array' }) });
  if (unfit !== undefined) return { usable: false, unfit };
  await client.query("SELECT pg_logical_emit_message(true, 'm2m-gateway', 'probe')");
  return { usable: true };
}

/** A backup's rights come last of all, so that its tables are full as soon as they may be read. */
async function lookAtSchema(client: Client): Promise<Probed> {
  try {
    const { rows } = await client.query<[string | null, number | null]>({
      text: SCHEMA,
      values: [TABLES],
      rowMode: 'array',
    });
    const [forbidden, version] = rows[0]!;
    if (forbidden !== null) return { usable: false, unfit: `m2m_gateway may not read ${forbidden}` };
    if ((version ?? 0) >= schemaVersion) return { usable: true };
    const unfit = `the schema's version is ${version ?? 'none'}, this gateway's ${schemaVersion}: m2m migrate`;
    return { usable: false, unfit };
  } catch (error) {
    if (isMisfit(error))
      return { usable: false, unfit: isForbidden(error) ? (error as Error).message : undefined };
    throw error;
  }
}
