/** Why a database could not be brought up to date. The message is one line for the operator, without secrets. */
export class MigrationError extends Error {
  override name = 'MigrationError';
}

/** The schema is of a later release, which says that gateways as old as this one must not run on it. */
export class SchemaTooNew extends MigrationError {
  override name = 'SchemaTooNew';

  constructor(
    readonly found: number,
    readonly worksFrom: number,
    readonly known: number,
  ) {
    super(
      `the database has schema version ${found}, which needs a gateway that knows version ${worksFrom} or later, ` +
        `and this one knows ${known}: install the newer release`,
    );
  }
}

/** The user of the database URL lacks what only a database administrator can give: `statements`, as for psql. */
export class MissingRoles extends MigrationError {
  override name = 'MissingRoles';

  constructor(
    readonly user: string,
    readonly statements: readonly string[],
  ) {
    super(
      `user ${user} may not do all that is needed once; a database administrator must run: ${statements.join(' ')}`,
    );
  }
}

/** What an error says, on one line. An AggregateError (one address after the other) has no message of its own. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join(', ');
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\s+/g, ' ').trim();
}

/** The SQLSTATE or system error code, or '' where there is none. */
export function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
