import { escapeIdentifier, type Client } from 'pg';
import { codeOf, MissingRoles } from './migrateErrors';

/** The migrating user becomes a member of the last one. */
export type RoleNames = readonly [operator: string, monitor: string, gateway: string];

const ROLES: RoleNames = ['m2m_operator', 'm2m_monitor', 'm2m_gateway'];
const ATTEMPTS = 10;

const INSUFFICIENT_PRIVILEGE = '42501';
// Roles belong to the cluster, the migration's lock to one database: another one's migration may make
// them in the same moment. XX000 is "tuple concurrently updated", of two GRANTs.
const RACE_LOST = ['42710', '23505', 'XX000'];

interface Rights {
  user: string;
  database: string;
  existing: string[];
  mayCreateSchema: boolean;
  maySetRole: boolean;
}

async function readRights(client: Client, roles: RoleNames): Promise<Rights> {
  // From PostgreSQL 16 on being a member does not imply SET ROLE; before, there is no such word as SET.
  const { rows } = await client.query<Rights>(
    `SELECT current_user AS user, current_database() AS database,
       ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)) AS existing,
       has_database_privilege(current_database(), 'CREATE') AS "mayCreateSchema",
       EXISTS (
         SELECT FROM pg_roles WHERE rolname = $2 AND pg_has_role(current_user, oid,
           CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
       ) AS "maySetRole"`,
    [roles, roles[2]],
  );
  return rows[0]!;
}

/** The statements that give what is missing. */
function statementsFor(rights: Rights, roles: RoleNames, isNew: boolean): string[] {
  const user = escapeIdentifier(rights.user);
  const missing = roles.filter((role) => !rights.existing.includes(role));
  return [
    ...missing.map((role) => `CREATE ROLE ${escapeIdentifier(role)} NOLOGIN;`),
    ...(rights.maySetRole && missing.length === 0 ? [] : [`GRANT ${escapeIdentifier(roles[2])} TO ${user};`]),
    ...(isNew && !rights.mayCreateSchema
      ? [`GRANT CREATE ON DATABASE ${escapeIdentifier(rights.database)} TO ${user};`]
      : []),
  ];
}

async function runAll(client: Client, statements: readonly string[]): Promise<void> {
  await client.query('BEGIN');
  try {
    for (const statement of statements) await client.query(statement);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/**
 * Makes the roles that are missing and lets the current user SET ROLE m2m_gateway, all of it or nothing.
 * `isNew`: the schema is still to be made, for which the user needs CREATE on the database.
 * Throws MissingRoles with what an administrator must run where the user may not do that itself.
 */
export async function ensureRoles(client: Client, isNew: boolean, roles: RoleNames = ROLES): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const rights = await readRights(client, roles);
    const statements = statementsFor(rights, roles, isNew);
    // This one would be no error: PostgreSQL only warns where it grants nothing.
    if (isNew && !rights.mayCreateSchema) throw new MissingRoles(rights.user, statements);
    try {
      return await runAll(client, statements);
    } catch (error) {
      if (codeOf(error) === INSUFFICIENT_PRIVILEGE) throw new MissingRoles(rights.user, statements);
      if (!RACE_LOST.includes(codeOf(error)) || attempt === ATTEMPTS) throw error;
    }
  }
}
