import { Socket } from 'node:net';
import { Client } from 'pg';
import { asPsqlReads } from './address';
import { MigrationError, reasonOf } from './migrateErrors';

const OLDEST_SERVER = 140000;
const CONNECT_TIMEOUT_MS = 30_000;
/** Of the client library, where the server wants one. */
const NO_PASSWORD = /client password must be a/;

// A waiting migration must not be cut off by timeouts that the role or the database has for its queries,
// and the SQL files are written for read committed and for strings in which a backslash is one.
const SESSION_SETTINGS = `
  SET lock_timeout = 0;
  SET idle_in_transaction_session_timeout = 0;
  SET idle_session_timeout = 0;
  SET default_transaction_isolation = 'read committed';
  SET default_transaction_read_only = off;
  SET client_min_messages = warning;
  SET standard_conforming_strings = on;
  SET search_path = pg_catalog`;

function newClient(databaseUrl: string, socket: Socket): Client {
  try {
    return new Client({
      connectionString: asPsqlReads(databaseUrl),
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      application_name: 'm2m migrate',
      stream: () => socket,
    });
  } catch (error) {
    const reason = reasonOf(error);
    // A certificate's file that cannot be read, or one that sslmode=verify-ca lacks.
    if ((error as NodeJS.ErrnoException).syscall !== undefined)
      throw new MigrationError(`the database URL names a file that cannot be read: ${reason}`);
    if (reason.includes('requires specifying a CA'))
      throw new MigrationError('the database URL: sslmode=verify-ca needs sslrootcert, the CA certificate');
    // The cause may quote the URL, and that holds the password.
    throw new MigrationError(
      'the database URL is not one: it should look like postgres://user:password@host:5432/database',
    );
  }
}

function cannotConnect(client: Client, error: unknown): MigrationError {
  const { user = '', host, port, database = '', password } = client;
  const told = reasonOf(error);
  const reason = NO_PASSWORD.test(told)
    ? 'the server asks for a password, and there is none in the URL or PGPASSWORD'
    : told;
  return new MigrationError(
    `cannot connect to PostgreSQL at ${host}:${port}, database ${database}, as ${user}: ` +
      (password ? reason.replaceAll(password, '***') : reason),
  );
}

async function checkServer(client: Client): Promise<void> {
  const { rows } = await client.query<{ number: number; version: string }>(
    `SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version`,
  );
  const server = rows[0];
  if (server !== undefined && server.number < OLDEST_SERVER) {
    throw new MigrationError(`PostgreSQL 14 or newer is needed, the server is ${server.version}`);
  }
}

/**
 * A session fit for migrating. Throws MigrationError with one clear line, without the password, where the
 * server cannot be reached, refuses the user, or is too old. Whoever calls it ends it.
 */
export async function connectForMigration(databaseUrl: string): Promise<Client> {
  const socket = new Socket();
  const client = newClient(databaseUrl, socket);
  // A session that breaks fails its query; without a listener it would end the process as well.
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    // Where the library gives up, not the server, the connection would stand, and keep the process alive.
    socket.destroy();
    throw cannotConnect(client, error);
  }
  try {
    await client.query('SET statement_timeout = 0');
    await checkServer(client);
    await client.query(SESSION_SETTINGS);
    return client;
  } catch (error) {
    await client.end();
    throw error;
  }
}
