import type { Client } from 'pg';
import { call, logIn, newTerminal, openFixture, provision, refusal, type Fixture } from './sqlFixture';

let fixture: Fixture;
let client: Client;

beforeAll(async () => {
  fixture = await openFixture();
  client = fixture.client;
});

afterAll(() => fixture.close());

const OPERATOR_FUNCTIONS: Record<string, string> = {
  acknowledge_sms: 'id bigint, error text DEFAULT NULL::text',
  cancel_credential_change: 'serial text',
  disconnect_terminal: 'serial text',
  drop_base_key: 'serial text',
  explain: 'serial text',
  import_terminals: 'all_or_nothing boolean DEFAULT true',
  lift_throttle: 'serial text DEFAULT NULL::text, address inet DEFAULT NULL::inet',
  note_packet: 'serial text, number bytea, key_id bytea',
  provision_sealed:
    'serial text, imei text, imsi text, uplink_password bytea, downlink_password bytea, ' +
    "base_key bytea DEFAULT NULL::bytea, msisdn text DEFAULT NULL::text, least_login text DEFAULT 'md5'::text, " +
    'label text DEFAULT NULL::text',
  provision_terminal:
    'serial text, imei text, imsi text, uplink_password bytea, downlink_password bytea, ' +
    "base_key bytea DEFAULT NULL::bytea, msisdn text DEFAULT NULL::text, least_login text DEFAULT 'md5'::text, " +
    'label text DEFAULT NULL::text',
  rebind_terminal: 'serial text, imei text, imsi text, msisdn text DEFAULT NULL::text',
  request_credential_change: 'serial text, targets text[]',
  resume_terminal: 'serial text',
  retire_terminal: 'serial text',
  revoke_packet: 'serial text',
  set_contact: 'serial text, msisdn text, label text',
  set_credentials:
    'serial text, uplink_password bytea DEFAULT NULL::bytea, downlink_password bytea DEFAULT NULL::bytea, ' +
    'base_key bytea DEFAULT NULL::bytea',
  set_least_login: 'serial text, least_login text',
  suspend_terminal: 'serial text, reason text DEFAULT NULL::text',
  swap_sims: 'serial text, other_serial text',
  take_sms: "most integer DEFAULT 100, lease interval DEFAULT '00:05:00'::interval",
};
const VIEWS = [
  'audit',
  'failing_terminals',
  'live_session',
  'login_migration',
  'sms_outbox_status',
  'terminal_login',
  'terminal_status',
  'throttled',
];
/** Which version the schema has is nobody's secret. */
const READABLE = [...VIEWS, 'migration'].sort().map((name) => `${name}: SELECT`);
const TABLES = [
  'audit_log',
  'change',
  'credential',
  'failure',
  'instance',
  'packet',
  'reason',
  'sealing_key',
  'session',
  'sms_outbox',
  'terminal',
  'terminal_import',
  'throttle',
];

/** What a role may do on tables, views and sequences of the schema, as `name: PRIVILEGE, …`. */
async function relationRights(role: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `SELECT relname || ': ' || string_agg(privilege, ', ' ORDER BY privilege) AS line
     FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
     WHERE relnamespace = 'm2m'::regnamespace AND relkind IN ('r', 'v', 'S')
       AND CASE WHEN relkind <> 'S' THEN has_table_privilege($1, oid, privilege)
           ELSE privilege IN ('SELECT', 'UPDATE') AND has_sequence_privilege($1, oid, privilege) END
     GROUP BY relname ORDER BY relname`,
    [role],
  );
  return rows.map(({ line }) => line);
}

async function functionRights(role: string): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; args: string }>(
    `SELECT proname AS name, pg_get_function_arguments(oid) AS args FROM pg_proc
     WHERE pronamespace = 'm2m'::regnamespace AND has_function_privilege($1, oid, 'EXECUTE') ORDER BY proname`,
    [role],
  );
  return Object.fromEntries(rows.map(({ name, args }) => [name, args]));
}

async function as<T>(role: string, work: () => Promise<T>): Promise<T> {
  await client.query(`SET ROLE ${role}`);
  try {
    return await work();
  } finally {
    await client.query('RESET ROLE');
  }
}

describe('rights', () => {
  test('operators: the functions of the contract and the views', async () => {
    expect(await functionRights('m2m_operator')).toEqual(OPERATOR_FUNCTIONS);
    expect(await relationRights('m2m_operator')).toEqual(
      [...READABLE, 'terminal_import: DELETE, INSERT'].sort(),
    );
  });

  test('monitors: the views', async () => {
    expect(await functionRights('m2m_monitor')).toEqual({});
    expect(await relationRights('m2m_monitor')).toEqual(READABLE);
  });

  test('the gateway: what it writes, and no more', async () => {
    expect(await functionRights('m2m_gateway')).toEqual({});
    expect(await relationRights('m2m_gateway')).toEqual(
      [
        'audit: SELECT',
        'audit_log: SELECT',
        'change: DELETE, INSERT, SELECT',
        'credential: SELECT, UPDATE',
        'failure: DELETE, INSERT, SELECT, UPDATE',
        'instance: DELETE, INSERT, SELECT, UPDATE',
        'live_session: SELECT',
        'migration: SELECT',
        'packet: SELECT',
        'sealing_key: INSERT, SELECT',
        'session: SELECT, UPDATE',
        'sms_outbox: DELETE, INSERT, SELECT, UPDATE',
        'terminal: SELECT',
        'terminal_import: DELETE, SELECT',
        'terminal_status: SELECT',
        'throttle: DELETE, INSERT, SELECT, UPDATE',
      ].sort(),
    );
    const { rows } = await client.query(
      `SELECT relname || '.' || attname AS name, attacl::text[] AS rights FROM pg_attribute AS a
       JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = 'm2m'::regnamespace AND attacl IS NOT NULL`,
    );
    expect(rows).toEqual([
      { name: 'terminal_import.loaded_at', rights: [expect.stringMatching(/^m2m_gateway=w\//)] },
    ]);
  });

  test('anybody else: nothing', async () => {
    const stranger = `m2m_test_stranger_${process.pid}`;
    await client.query(`CREATE ROLE ${stranger}`);
    try {
      expect(await relationRights(stranger)).toEqual([]);
      expect(await functionRights(stranger)).toEqual({});
      const refused = await refusal(as(stranger, () => client.query('SELECT * FROM m2m.terminal_status')));
      expect(refused.message).toBe('permission denied for schema m2m');
    } finally {
      await client.query(`DROP ROLE ${stranger}`);
    }
  });

  test.each(['m2m_operator', 'm2m_monitor'])('%s reads no table', async (role) => {
    for (const table of TABLES) {
      const refused = await refusal(as(role, () => client.query(`SELECT * FROM m2m.${table}`)));
      expect(refused.message).toBe(`permission denied for table ${table}`);
    }
  });

  test.each([
    'UPDATE m2m.terminal SET status = DEFAULT',
    'DELETE FROM m2m.credential',
    'INSERT INTO m2m.audit_log (action, serial) VALUES (1, 1)',
    'UPDATE m2m.audit_log SET actor = DEFAULT',
    "SELECT m2m.touch(1, 'x')",
    "SELECT m2m.suspend_terminal('T', 'x')",
  ])('the gateway is refused: %s', async (statement) => {
    expect((await refusal(as('m2m_gateway', () => client.query(statement)))).code).toBe('42501');
  });

  test('roles can do their work', async () => {
    const terminal = newTerminal();
    await as('m2m_operator', () => call(client, 'provision_terminal', terminal));
    await as('m2m_gateway', async () => {
      expect(await logIn(client, terminal.serial)).toBe(true);
      await client.query(`INSERT INTO m2m.instance (gateway, listen) VALUES ('g', 'l')`);
      await client.query(
        `INSERT INTO m2m.change (terminal_id, serial, action, instance) VALUES (1, 'x', 'y', 1)`,
      );
      await client.query(`DELETE FROM m2m.change WHERE action = 'y'`);
      await client.query(`INSERT INTO m2m.sealing_key VALUES ('\\x01020304', '\\x00')`);
      await client.query(`INSERT INTO m2m.failure VALUES ('x', 1, now(), now(), 'y', NULL)`);
    });
    const read = () => client.query('SELECT * FROM m2m.terminal_status, m2m.live_session, m2m.audit');
    expect((await as('m2m_monitor', read)).rowCount).toBeGreaterThan(0);
    expect((await as('m2m_operator', read)).rowCount).toBeGreaterThan(0);
  });
});

describe('what psql shows of it', () => {
  test('every function explains itself and runs as its owner with a fixed search path', async () => {
    const { rows } = await client.query<{ proname: string }>(
      `SELECT proname FROM pg_proc WHERE pronamespace = 'm2m'::regnamespace AND NOT (prosecdef
         AND proconfig[1] = 'search_path=m2m, pg_temp'
         AND proconfig <@ '{"search_path=m2m, pg_temp",enable_nestloop=off,standard_conforming_strings=on}' AND obj_description(oid, 'pg_proc') IS NOT NULL)`,
    );
    expect(rows).toEqual([]);
  });

  test('every table and view explains itself', async () => {
    const { rows } = await client.query<{ relname: string }>(
      `SELECT relname FROM pg_class WHERE relnamespace = 'm2m'::regnamespace AND relkind IN ('r', 'v')
         AND obj_description(oid, 'pg_class') IS NULL`,
    );
    expect(rows).toEqual([]);
  });

  test('the session table has no index but its key', async () => {
    const { rows } = await client.query(`SELECT relname AS index FROM pg_index
      JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = 'm2m.session'::regclass`);
    expect(rows).toEqual([{ index: 'session_pkey' }]);
  });
});

describe('views', () => {
  const columns = async (view: string): Promise<string[]> =>
    (await client.query(`SELECT * FROM m2m.${view} LIMIT 0`)).fields.map(({ name }) => name);

  test.each([
    [
      'terminal_status',
      'serial imei imsi label status least_login pending_change session_id gateway address last_login_at ' +
        'last_failure_at last_failure_reason status_reason msisdn',
    ],
    ['live_session', 'serial session_id gateway address started_at expires_at connected'],
    ['audit', 'at actor action serial what'],
    ['throttled', 'serial address failures until why'],
  ])('%s has the columns of the contract', async (view, names) => {
    expect((await columns(view)).join(' ')).toBe(names);
  });

  test('a session shows where it stands, and that its gateway died', async () => {
    const { serial } = await provision(client);
    const { rows: instances } = await client.query<{ id: string }>(
      `INSERT INTO m2m.instance (gateway, listen) VALUES ('gw-1', '0.0.0.0:7750') RETURNING id`,
    );
    const read = async (view: string) =>
      (await client.query<Record<string, unknown>>(`SELECT * FROM m2m.${view} WHERE serial = $1`, [serial]))
        .rows[0];
    expect(await read('terminal_status')).toMatchObject({ session_id: null, gateway: null, address: null });
    expect(await read('live_session')).toBeUndefined();
    await logIn(client, serial);
    await client.query(`UPDATE m2m.session SET instance = $1`, [instances[0]!.id]);
    await client.query(`UPDATE m2m.instance SET seen_at = now() + interval '1 hour'`);
    const shown = { session_id: '0102030405060708', gateway: 'gw-1', address: '10.0.0.1' };
    expect(await read('terminal_status')).toMatchObject({ ...shown, pending_change: null, status: 'active' });
    expect(await read('live_session')).toMatchObject({ ...shown, connected: true });
    await client.query(`UPDATE m2m.instance SET seen_at = now() - interval '11 s'`);
    expect(await read('live_session')).toMatchObject({ ...shown, connected: false });
    await client.query(`UPDATE m2m.session SET expires_at = now()`);
    expect(await read('live_session')).toBeUndefined();
    expect(await read('terminal_status')).toMatchObject({ session_id: null, gateway: null, address: null });
  });
});
