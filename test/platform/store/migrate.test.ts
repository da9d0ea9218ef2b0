import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import {
  migrate,
  MigrationError,
  MissingRoles,
  SchemaTooNew,
  schemaVersion,
} from '../../../src/platform/store/migrate';
import { readMigrations } from '../../../src/platform/store/migrateFiles';
import { ensureRoles, type RoleNames } from '../../../src/platform/store/migrateRoles';
import { eventually } from '../../support/eventually';

const server = (): string => process.env['M2M_TEST_SERVER']!;
const unique = (): string => randomBytes(6).toString('hex');
const names = readMigrations().map(({ name }) => name);
const cleanups: (() => Promise<unknown>)[] = [];
let admin: Client;

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

// The server may be behind a socket, which URL does not take.
function urlOf(database: string, user?: string): string {
  const { host, port, user: owner, password } = new Client({ connectionString: server() });
  const who = user === undefined ? `${owner}:${password ?? ''}` : `${user}:pa55word`;
  return `postgresql://${who}@/${database}?host=${encodeURIComponent(host)}&port=${port}`;
}

async function emptyDatabase(options = ''): Promise<string> {
  const name = `m2m_migrate_${unique()}`;
  await admin.query(`CREATE DATABASE ${name} TEMPLATE template0 ${options}`);
  cleanups.unshift(() => admin.query(`DROP DATABASE ${name} WITH (FORCE)`));
  return name;
}

/** A user that may log in; what else it may is said by `options`. */
async function newUser(options = ''): Promise<string> {
  const name = `m2m_user_${unique()}`;
  await admin.query(`CREATE ROLE ${name} LOGIN PASSWORD 'pa55word' ${options}`);
  cleanups.push(() => admin.query(`DROP ROLE ${name}`));
  return name;
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error('did not fail'),
    (error: Error) => error,
  );
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = await connect(url);
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  admin = await connect(server());
});

afterAll(async () => {
  for (const cleanup of cleanups) await cleanup();
  await admin.end();
});

describe('migrate', () => {
  test('brings an empty database up to date, and then has nothing to do', async () => {
    const url = urlOf(await emptyDatabase());
    expect(await migrate(url)).toEqual({ from: 0, to: schemaVersion, applied: names });
    expect(await migrate(url)).toEqual({ from: schemaVersion, to: schemaVersion, applied: [] });
    const rows = await query(url, 'SELECT version, name, works_from FROM m2m.migration ORDER BY version');
    expect(rows.map(({ name }) => name)).toEqual(names);
  });

  test('twenty at once on an empty database all succeed, one does the work', async () => {
    const url = urlOf(await emptyDatabase());
    const reports = await Promise.all(Array.from({ length: 20 }, () => migrate(url)));
    expect(reports.filter(({ from }) => from === 0)).toHaveLength(1);
    expect(reports.map(({ to }) => to)).toEqual(Array(20).fill(schemaVersion));
  });

  test('waits for the lock, whatever timeouts the database has', async () => {
    const database = await emptyDatabase();
    const holder = await connect(urlOf(database));
    await holder.query('SELECT pg_advisory_lock($1)', [0x6d326d]);
    await admin.query(`ALTER DATABASE ${database} SET statement_timeout = '3s'`);
    await admin.query(`ALTER DATABASE ${database} SET lock_timeout = '3s'`);
    await admin.query(`ALTER DATABASE ${database} SET default_transaction_isolation = 'serializable'`);
    const migration = migrate(urlOf(database));
    const waiting = `SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'advisory'`;
    await eventually('it waits', async () => (await admin.query(waiting, [database])).rowCount === 1);
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await holder.end();
    expect((await migration).applied).toEqual(names);
  });

  test('reads its files alike where the database has strings of old', async () => {
    const database = await emptyDatabase();
    await admin.query(`ALTER DATABASE ${database} SET standard_conforming_strings = off`);
    await migrate(urlOf(database));
    const [comment] = await query(
      urlOf(database),
      `SELECT obj_description('m2m'::regnamespace, 'pg_namespace') AS says`,
    );
    expect(comment).toEqual({ says: expect.stringContaining('\\df+ m2m.*') as string });
  });

  test('goes on where another stopped, and leaves nothing of what failed', async () => {
    const url = urlOf(await emptyDatabase());
    await query(
      url,
      `CREATE FUNCTION no_views() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no views
         today''; END';
       CREATE EVENT TRIGGER no_views ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION no_views()`,
    );
    const error = await failure(migrate(url));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toBe('migration 004_views failed: no views today');
    expect(await query(url, 'SELECT max(version) AS version FROM m2m.migration')).toEqual([{ version: 3 }]);
    await query(url, 'DROP EVENT TRIGGER no_views');
    expect(await migrate(url)).toEqual({ from: 3, to: schemaVersion, applied: names.slice(3) });
  });

  test('a newer schema is fine where it says so, else refused', async () => {
    const url = urlOf(await emptyDatabase());
    await migrate(url);
    await query(url, `INSERT INTO m2m.migration VALUES (998, 'later', now(), ${schemaVersion})`);
    expect(await migrate(url)).toEqual({ from: 998, to: 998, applied: [] });
    await query(url, `INSERT INTO m2m.migration VALUES (999, 'too late', now(), ${schemaVersion + 1})`);
    const error = await failure(migrate(url));
    expect(error).toBeInstanceOf(SchemaTooNew);
    expect(error.message).toMatch(
      new RegExp(`^the database has schema version 999.* knows ${schemaVersion}:`),
    );
  });
});

describe('a connection that cannot be had', () => {
  test.each([
    [
      'postgres://someone:pa55word@127.0.0.1:1/somewhere',
      /127\.0\.0\.1:1, database somewhere, as someone: .+/,
    ],
    ['postgres://someone:pa55word@localhost:1/somewhere', /localhost:1, database somewhere, as someone: .+/],
    ['postgres://someone:pa55word@host:port/somewhere', /^the database URL is not one/],
    ['postgres://someone:pa55word%@host/somewhere', /^the database URL is not one|host:5432/],
  ])('%s: one line without the password', async (url, message) => {
    const error = await failure(migrate(url));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/pa55word|\n/);
  });

  test('a server that wants a password where there is none is let go of', async () => {
    // The library gives up by itself where it needs the password, and leaves the connection open.
    const authentication = (kind: number, data: string) =>
      Buffer.concat([Buffer.from([0x52, 0, 0, 0, 8 + data.length, 0, 0, 0, kind]), Buffer.from(data)]);
    const said = [authentication(10, 'SCRAM-SHA-256\0\0'), authentication(11, 'r=nonce,s=c2FsdA==,i=4096')];
    const server = createServer();
    const gone = new Promise<void>((resolve) =>
      server.on('connection', (socket) => {
        socket.on('error', () => undefined).once('close', () => resolve());
        socket.on('data', () => socket.write(said.shift() ?? ''));
      }),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const error = await failure(migrate(`postgres://someone@127.0.0.1:${port}/somewhere`));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toMatch(
      /as someone: the server asks for a password, and there is none in the URL or PGPASSWORD$/,
    );
    await gone;
    server.close();
  });

  test('a database of another encoding is left as it is', async () => {
    const name = await emptyDatabase(`ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'`);
    const error = await failure(migrate(urlOf(name)));
    expect(error.message).toMatch(
      new RegExp(`^database ${name} has the encoding LATIN1, and UTF8 is needed`),
    );
    expect(await query(urlOf(name), `SELECT FROM pg_namespace WHERE nspname = 'm2m'`)).toEqual([]);
  });

  test('an unknown database is named', async () => {
    const error = await failure(migrate(urlOf('m2m_nowhere')));
    expect(error.message).toMatch(/database m2m_nowhere, as .*: database "m2m_nowhere" does not exist$/);
  });
});

describe('rights of the migrating user', () => {
  const rolesNow = (): RoleNames => {
    const roles: RoleNames = [`m2m_op_${unique()}`, `m2m_mon_${unique()}`, `m2m_gw_${unique()}`];
    cleanups.push(() => admin.query(`DROP ROLE IF EXISTS ${roles.join(', ')}`));
    return roles;
  };

  test('without CREATE on the database and without membership nothing is done, and the administrator told', async () => {
    // The roles are there already, or made here.
    await migrate(urlOf(await emptyDatabase()));
    const [database, user] = [await emptyDatabase(), await newUser()];
    const error = await failure(migrate(urlOf(database, user)));
    expect(error).toBeInstanceOf(MissingRoles);
    const { statements } = error as MissingRoles;
    expect(statements).toEqual([
      `GRANT "m2m_gateway" TO "${user}";`,
      `GRANT CREATE ON DATABASE "${database}" TO "${user}";`,
    ]);
    expect(error.message).toContain(statements.join(' '));
    expect(await query(urlOf(database), `SELECT FROM pg_namespace WHERE nspname = 'm2m'`)).toEqual([]);

    for (const statement of statements) await admin.query(statement);
    expect((await migrate(urlOf(database, user))).applied).toEqual(names);
    await query(urlOf(database, user), 'SET ROLE m2m_gateway');

    const other = await newUser();
    await admin.query(`GRANT m2m_gateway TO ${other}`);
    expect((await migrate(urlOf(database, other))).applied).toEqual([]);
  });

  test('who may not create roles learns all that is missing, and none is made', async () => {
    const [roles, user] = [rolesNow(), await newUser()];
    const client = await connect(urlOf('postgres', user));
    const error = await failure(ensureRoles(client, false, roles));
    await client.end();
    expect((error as MissingRoles).statements).toEqual([
      ...roles.map((role) => `CREATE ROLE "${role}" NOLOGIN;`),
      `GRANT "${roles[2]}" TO "${user}";`,
    ]);
    const { rowCount } = await admin.query('SELECT FROM pg_roles WHERE rolname = ANY ($1)', [roles]);
    expect(rowCount).toBe(0);
  });

  test('who may create roles makes them and may work as the gateway', async () => {
    const [roles, user] = [rolesNow(), await newUser('CREATEROLE')];
    const client = await connect(urlOf('postgres', user));
    await ensureRoles(client, false, roles);
    await client.query(`SET ROLE ${roles[2]}`);
    await client.query('RESET ROLE');
    await ensureRoles(client, false, roles);
    await client.end();
    await admin.query(`DROP OWNED BY ${user}`);
  });

  test('migrations of several databases of a cluster may make the roles at once', async () => {
    const [roles, user] = [rolesNow(), await newUser('SUPERUSER')];
    const clients = await Promise.all(Array.from({ length: 12 }, () => connect(urlOf('postgres', user))));
    const outcomes = await Promise.allSettled(clients.map((client) => ensureRoles(client, false, roles)));
    await Promise.all(clients.map((client) => client.end()));
    expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
    const { rowCount } = await admin.query('SELECT FROM pg_roles WHERE rolname = ANY ($1)', [roles]);
    expect(rowCount).toBe(3);
  });
});

describe('migration files', () => {
  const directoryOf = (files: Record<string, string>): string => {
    const directory = mkdtempSync(join(tmpdir(), 'm2m-sql-'));
    cleanups.push(() => Promise.resolve(rmSync(directory, { recursive: true })));
    for (const [file, sql] of Object.entries(files)) writeFileSync(join(directory, file), sql);
    return directory;
  };

  test.each([
    [
      'a gap',
      { '001_a.sql': '-- works from: 1\n', '003_b.sql': '-- works from: 1\n' },
      /003_b .* should be number 2/,
    ],
    ['no header', { '001_a.sql': 'SELECT 1' }, /001_a\.sql does not begin with/],
    ['a header from the future', { '001_a.sql': '-- works from: 2\n' }, /001_a\.sql does not begin with/],
    ['none', { 'readme.md': '' }, /no migrations in/],
  ])('%s is refused', (_, files, message) => {
    expect(() => readMigrations(directoryOf(files as Record<string, string>))).toThrow(message);
  });
});
