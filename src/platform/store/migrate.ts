import type { Client } from 'pg';
import { connectForMigration } from './migrateConnection';
import { MigrationError, reasonOf, SchemaTooNew } from './migrateErrors';
import { readMigrations, type MigrationFile } from './migrateFiles';
import { ensureRoles } from './migrateRoles';

export { MigrationError, MissingRoles, SchemaTooNew } from './migrateErrors';

/** Schema versions before and after, and the names of the migrations that were applied, in order. */
export interface MigrationReport {
  from: number;
  to: number;
  applied: string[];
}

const migrations = readMigrations();

/** The schema version that this release is written for: the number of its newest SQL file. */
export const schemaVersion = migrations.length;

// Any number will do that no other program takes in the same database: "m2m" in ASCII.
const MIGRATION_LOCK = 0x6d326d;

interface Applied {
  version: number;
  worksFrom: number;
}

async function isMigrated(client: Client): Promise<boolean> {
  // By the catalog: to_regclass fails where the user may not use the schema.
  const { rowCount } = await client.query(
    `SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
     WHERE n.nspname = 'm2m' AND relname = 'migration'`,
  );
  return rowCount === 1;
}

/** Texts of the schema are UTF-8. SQL_ASCII stores what it is given. */
async function checkEncoding(client: Client): Promise<void> {
  const { rows } = await client.query<{ encoding: string; name: string }>(
    `SELECT current_setting('server_encoding') AS encoding, current_database() AS name`,
  );
  const { encoding, name } = rows[0]!;
  if (encoding === 'UTF8' || encoding === 'SQL_ASCII') return;
  throw new MigrationError(
    `database ${name} has the encoding ${encoding}, and UTF8 is needed: ` +
      `CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'`,
  );
}

async function newestApplied(client: Client): Promise<Applied | undefined> {
  const { rows } = await client.query<Applied>(
    'SELECT version, works_from AS "worksFrom" FROM m2m.migration ORDER BY version DESC LIMIT 1',
  );
  return rows[0];
}

async function apply(client: Client, { version, name, worksFrom, sql }: MigrationFile): Promise<void> {
  try {
    await client.query('BEGIN');
    await client.query(sql);
    await client.query('INSERT INTO m2m.migration (version, name, works_from) VALUES ($1, $2, $3)', [
      version,
      name,
      worksFrom,
    ]);
    await client.query('COMMIT');
  } catch (error) {
    throw new MigrationError(`migration ${name} failed: ${reasonOf(error)}`, { cause: error });
  }
}

async function bringUpToDate(client: Client): Promise<MigrationReport> {
  await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
  const isNew = !(await isMigrated(client));
  if (isNew) await checkEncoding(client);
  await ensureRoles(client, isNew);
  const newest = isNew ? undefined : await newestApplied(client);
  const from = newest?.version ?? 0;
  if (newest !== undefined && newest.worksFrom > schemaVersion) {
    throw new SchemaTooNew(newest.version, newest.worksFrom, schemaVersion);
  }
  const pending = migrations.filter(({ version }) => version > from);
  for (const migration of pending) await apply(client, migration);
  return { from, to: Math.max(from, schemaVersion), applied: pending.map(({ name }) => name) };
}

/**
 * Brings the schema of a database up to date. Any number of processes may do so at once: they wait for
 * each other. Throws MigrationError: SchemaTooNew, MissingRoles, or with a line that says what failed; a
 * migration that failed has left nothing behind, those before it stay.
 */
export async function migrate(databaseUrl: string): Promise<MigrationReport> {
  const client = await connectForMigration(databaseUrl);
  try {
    return await bringUpToDate(client);
  } catch (error) {
    if (error instanceof MigrationError) throw error;
    throw new MigrationError(`the schema could not be brought up to date: ${reasonOf(error)}`, {
      cause: error,
    });
  } finally {
    // Gives the lock back, and rolls back what a failed migration began.
    await client.end().catch(() => undefined);
  }
}
