import type { Client } from 'pg';
import {
  call,
  everything,
  imeiOf,
  logIn,
  newTerminal,
  openFixture,
  provision,
  refusal,
  sessionOf,
  type Arguments,
  type Fixture,
} from './sqlFixture';

let fixture: Fixture;
let client: Client;

beforeAll(async () => {
  fixture = await openFixture();
  client = fixture.client;
});

afterAll(() => fixture.close());

const bytes = (length: number): Buffer => Buffer.alloc(length, 's');
const spare = imeiOf(900_000);

async function terminalRow(serial: string): Promise<Record<string, unknown>> {
  const { rows } = await client.query<Record<string, unknown>>(
    'SELECT * FROM m2m.terminal WHERE serial = $1',
    [serial],
  );
  return rows[0]!;
}

async function credentialRow(serial: string): Promise<Record<string, unknown>> {
  const { rows } = await client.query<Record<string, unknown>>(
    'SELECT c.* FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id WHERE t.serial = $1',
    [serial],
  );
  return rows[0]!;
}

async function actionsOf(table: 'change' | 'audit_log', serial: string): Promise<string[]> {
  const { rows } = await client.query<{ action: string }>(
    `SELECT action FROM m2m.${table} WHERE serial = $1 ORDER BY id`,
    [serial],
  );
  return rows.map(({ action }) => action);
}

describe('what each function takes and refuses', () => {
  const provisioning = {
    imei: imeiOf(1),
    imsi: '460001',
    uplink_password: bytes(1),
    downlink_password: bytes(64),
  };
  const valid: Record<string, Arguments> = {
    provision_terminal: {
      ...provisioning,
      base_key: bytes(16),
      msisdn: '+12345',
      least_login: 'hmac',
      label: 'x',
    },
    rebind_terminal: { imei: imeiOf(2), imsi: '460001', msisdn: '12345' },
    swap_sims: { other_serial: 'OTHER' },
    set_contact: { msisdn: null, label: null },
    set_credentials: { uplink_password: bytes(9), downlink_password: bytes(9), base_key: bytes(24) },
    drop_base_key: {},
    set_least_login: { least_login: 'mutual' },
    suspend_terminal: { reason: 'stolen' },
    resume_terminal: {},
    retire_terminal: {},
    disconnect_terminal: {},
  };
  const serials = [null, '', 'with space', 'x'.repeat(17), 'ümlaut', 'A\n'];
  const bad: Record<string, Arguments[string][]> = {
    serial: serials,
    other_serial: serials,
    imei: [null, '', '86812300000001', '868123000000010', '8681230000000190', '86812300000001X'],
    imsi: [null, '', '12345', '1234567890123456', '46000123x'],
    msisdn: ['', '1234', '+1234', '1234567890123456', '++12345', '0049 151', '123+45'],
    least_login: [null, '', 'MD5', 'none'],
    label: ['x'.repeat(201)],
    reason: ['x'.repeat(201)],
    uplink_password: [null, bytes(0), bytes(65)],
    downlink_password: [null, bytes(0), bytes(65)],
    base_key: [bytes(0), bytes(15), bytes(17), bytes(33)],
  };
  const cases = Object.entries(valid).flatMap(([name, args]) =>
    ['serial', ...Object.keys(args)].flatMap((argument) =>
      bad[argument]!.filter(
        (value) => value !== null || !(name === 'set_credentials' && argument !== 'serial'),
      ).map((value) => ({ name, argument, value })),
    ),
  );

  test.each(cases)('$name refuses $argument $value', async ({ name, argument, value }) => {
    const before = await everything(client);
    const { message, code } = await refusal(
      call(client, name, { serial: 'ANY', ...valid[name], [argument]: value }),
    );
    expect(message.startsWith(`${argument}: `)).toBe(true);
    expect(message).toMatch(/it holds|Luhn says/);
    expect(message).not.toMatch(/sssss|73737373/);
    expect(code).toBe('22023');
    expect(await everything(client)).toBe(before);
  });

  test.each(Object.keys(valid).filter((name) => name !== 'provision_terminal'))(
    '%s refuses an unknown and a retired serial',
    async (name) => {
      const { serial } = await provision(client);
      await call(client, 'retire_terminal', { serial });
      const before = await everything(client);
      expect(await refusal(call(client, name, { ...valid[name], serial: 'UNKNOWN' }))).toEqual({
        message: 'serial: UNKNOWN is not provisioned',
        code: 'P0002',
      });
      if (name === 'retire_terminal') return;
      const other = await provision(client);
      const args = 'other_serial' in valid[name]! ? { other_serial: other.serial } : valid[name];
      const refused = await refusal(call(client, name, { ...args, serial }));
      expect(refused.message).toContain(`serial: ${serial} is retired`);
      expect(refused.code).toBe('22023');
      await call(client, 'retire_terminal', { serial: other.serial });
      expect((await everything(client)).length).toBeGreaterThan(before.length);
    },
  );

  test('the check digit is told', async () => {
    const refused = await refusal(
      call(client, 'provision_terminal', newTerminal({ imei: '868123000000010' })),
    );
    expect(refused.message).toBe('imei: check digit of 868123000000010 is wrong, Luhn says 9');
  });

  test.each([
    { imsi: '460001' },
    { imsi: '123456789012345' },
    { base_key: bytes(16) },
    { base_key: bytes(24) },
    { base_key: bytes(32), least_login: 'mutual' },
    { uplink_password: bytes(1), downlink_password: bytes(64) },
    { msisdn: '12345', least_login: 'wmmp3' },
    { msisdn: '+123456789012345', label: 'ü'.repeat(200) },
    { serial: 'aZ09._-aZ09._-aZ', imei: '490154203237518' },
  ] as Arguments[])('provision_terminal takes %p', async (extra) => {
    expect(await call(client, 'provision_terminal', newTerminal(extra))).toBe('provisioned');
  });
});

describe('provision_terminal', () => {
  test('stores secrets behind a zero byte, marked plain, and makes the session row', async () => {
    const { serial } = await provision(client, { base_key: bytes(16) });
    expect(await credentialRow(serial)).toMatchObject({
      uplink_password: Buffer.from('\0uplink-secret'),
      downlink_password: Buffer.from('\0downlink-secret'),
      base_key: Buffer.concat([Buffer.alloc(1), bytes(16)]),
      plain: true,
    });
    expect(await sessionOf(client, serial)).toMatchObject({ session_id: null, connected: false });
    expect(await actionsOf('change', serial)).toEqual(['terminal-provisioned']);
  });

  test('credential.plain follows what is stored', async () => {
    const { serial } = await provision(client);
    const sealed = `UPDATE m2m.credential SET uplink_password = '\\x01aa', downlink_password = '\\x01bb'
      WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)`;
    await client.query(sealed, [serial]);
    expect(await credentialRow(serial)).toMatchObject({ plain: false });
    await call(client, 'set_credentials', { serial, base_key: bytes(16) });
    expect(await credentialRow(serial)).toMatchObject({
      plain: true,
      uplink_password: Buffer.from('\x01\xaa', 'latin1'),
    });
  });

  test('the same call again changes nothing, other secrets or not', async () => {
    const terminal = await provision(client, { label: 'pump', msisdn: '+4915112345' });
    const before = await everything(client);
    expect(await call(client, 'provision_terminal', terminal)).toBe('unchanged');
    const others = {
      ...terminal,
      uplink_password: bytes(5),
      downlink_password: bytes(6),
      base_key: bytes(32),
    };
    expect(await call(client, 'provision_terminal', others)).toBe('unchanged');
    expect(await everything(client)).toBe(before);
  });

  test.each([
    ['imei', spare],
    ['imsi', '999999'],
    ['msisdn', '77777'],
    ['least_login', 'mutual'],
    ['label', 'another'],
  ])('a known serial with another %s is refused', async (argument, value) => {
    const terminal = await provision(client);
    const refused = await refusal(call(client, 'provision_terminal', { ...terminal, [argument]: value }));
    expect(refused.message).toContain(
      `serial: ${terminal.serial} is already provisioned with another ${argument};`,
    );
    expect(refused.code).toBe('23505');
  });

  test.each(['imei', 'imsi'] as const)(
    'another terminal’s %s is refused and its holder named',
    async (argument) => {
      const holder = await provision(client);
      const refused = await refusal(provision(client, { [argument]: holder[argument] }));
      expect(refused).toEqual({
        message: `${argument}: ${holder[argument]} belongs to terminal ${holder.serial}`,
        code: '23505',
      });
    },
  );

  test('a retired serial stays so, its IMEI and IMSI are free', async () => {
    const terminal = await provision(client);
    await call(client, 'retire_terminal', { serial: terminal.serial });
    const refused = await refusal(call(client, 'provision_terminal', terminal));
    expect(refused.message).toContain(`serial: ${terminal.serial} is retired`);
    await provision(client, { imei: terminal.imei, imsi: terminal.imsi });
  });
});

describe('changes', () => {
  // name, arguments, answer, what becomes of the session, answer to the same call again
  const identity = 'identity-changed';
  const changes: [string, Arguments, string, string | null, string][] = [
    ['rebind_terminal', { imei: imeiOf(800_000), imsi: '800000' }, 'rebound', identity, 'unchanged'],
    [
      'rebind_terminal',
      { imei: imeiOf(800_001), imsi: '800001', msisdn: '55555' },
      'rebound',
      identity,
      'unchanged',
    ],
    ['set_contact', { msisdn: '66666', label: 'gate' }, 'changed', null, 'unchanged'],
    ['set_credentials', { uplink_password: bytes(4) }, 'changed', identity, 'changed'],
    ['drop_base_key', {}, 'dropped', identity, 'unchanged'],
    ['set_least_login', { least_login: 'hmac' }, 'changed', null, 'unchanged'],
    ['suspend_terminal', { reason: 'stolen' }, 'suspended', 'suspended', 'unchanged'],
    ['retire_terminal', {}, 'retired', 'suspended', 'unchanged'],
    ['disconnect_terminal', {}, 'disconnected', 'disconnected', 'no session'],
  ];

  test.each(changes)(
    '%s %p: %s, end of session %s, then %s',
    async (name, args, answer, endReason, again) => {
      const { serial } = await provision(client, { base_key: bytes(16), msisdn: '11111' });
      await logIn(client, serial);
      const { revision } = await sessionOf(client, serial);
      expect(await call(client, name, { serial, ...args })).toBe(answer);
      const after = await sessionOf(client, serial);
      expect(after.revision).toBe(revision + 1);
      expect(after.end_reason).toBe(endReason);
      const gone = endReason !== null;
      expect([
        after.session_id === null,
        after.session_key === null,
        !after.connected,
        after.ended_at !== null,
      ]).toEqual(Array(4).fill(gone));
      expect(await actionsOf('change', serial)).toEqual(['terminal-provisioned', name]);
      expect(await actionsOf('audit_log', serial)).toEqual(['terminal-provisioned', name]);
      const before = await everything(client);
      expect(await call(client, name, { serial, ...args })).toBe(again);
      if (again !== answer) expect(await everything(client)).toBe(before);
    },
  );

  test('rebinding without a number clears it; with the same IMEI and IMSI the session stands', async () => {
    const { serial, imei, imsi } = await provision(client, { msisdn: '11111' });
    await logIn(client, serial);
    expect(await call(client, 'rebind_terminal', { serial, imei, imsi })).toBe('rebound');
    expect(await terminalRow(serial)).toMatchObject({ imei, imsi, msisdn: null });
    expect((await sessionOf(client, serial)).session_id).not.toBeNull();
  });

  test.each(['imei', 'imsi'] as const)('rebinding to another terminal’s %s is refused', async (argument) => {
    const [mine, holder] = [await provision(client), await provision(client)];
    const before = await everything(client);
    const { serial } = mine;
    const wanted: Arguments = { imei: mine.imei, imsi: mine.imsi, [argument]: holder[argument] };
    const refused = await refusal(call(client, 'rebind_terminal', { serial, ...wanted }));
    expect(refused).toEqual({
      message: `${argument}: ${holder[argument]} belongs to terminal ${holder.serial}`,
      code: '23505',
    });
    expect(await everything(client)).toBe(before);
  });

  test('swapping moves IMSI and number both ways and ends both sessions', async () => {
    const [one, other] = [await provision(client, { msisdn: '11111' }), await provision(client)];
    for (const { serial } of [one, other]) await logIn(client, serial);
    const pair = { serial: other.serial, other_serial: one.serial };
    expect(await call(client, 'swap_sims', pair)).toBe('swapped');
    expect(await terminalRow(one.serial)).toMatchObject({ imei: one.imei, imsi: other.imsi, msisdn: null });
    expect(await terminalRow(other.serial)).toMatchObject({
      imei: other.imei,
      imsi: one.imsi,
      msisdn: '11111',
    });
    for (const { serial } of [one, other]) {
      expect(await sessionOf(client, serial)).toMatchObject({ session_id: null, end_reason: identity });
      expect(await actionsOf('change', serial)).toEqual(['terminal-provisioned', 'swap_sims']);
    }
  });

  test('a terminal is not swapped with itself, an unknown or a retired one', async () => {
    const [{ serial }, retired] = [await provision(client), await provision(client)];
    await call(client, 'retire_terminal', { serial: retired.serial });
    const swap = (other: string) => refusal(call(client, 'swap_sims', { serial, other_serial: other }));
    expect((await swap(serial)).message).toBe('other_serial: must be another terminal than serial');
    expect((await swap('UNKNOWN')).message).toBe('other_serial: UNKNOWN is not provisioned');
    expect((await swap(retired.serial)).message).toContain(`other_serial: ${retired.serial} is retired`);
  });

  test('NULL keeps a credential, all NULL changes none', async () => {
    const { serial } = await provision(client, { base_key: bytes(16) });
    expect(await call(client, 'set_credentials', { serial, downlink_password: Buffer.from('new') })).toBe(
      'changed',
    );
    expect(await credentialRow(serial)).toMatchObject({
      uplink_password: Buffer.from('\0uplink-secret'),
      downlink_password: Buffer.from('\0new'),
      base_key: Buffer.concat([Buffer.alloc(1), bytes(16)]),
    });
    expect(await call(client, 'set_credentials', { serial })).toBe('unchanged');
  });

  test('a suspended terminal may be changed and resumed; a new reason replaces the old', async () => {
    const { serial } = await provision(client);
    const suspend = (reason: string | null) => call(client, 'suspend_terminal', { serial, reason });
    expect([await suspend('stolen'), await suspend(null), await suspend('found')]).toEqual([
      'suspended',
      'unchanged',
      'suspended',
    ]);
    expect(await terminalRow(serial)).toMatchObject({ status: 'suspended', status_reason: 'found' });
    await call(client, 'rebind_terminal', { serial, imei: imeiOf(800_002), imsi: '800002' });
    await call(client, 'set_credentials', { serial, base_key: bytes(16) });
    expect(await call(client, 'resume_terminal', { serial })).toBe('resumed');
    expect(await terminalRow(serial)).toMatchObject({ status: 'active', status_reason: null });
    expect(await call(client, 'resume_terminal', { serial })).toBe('unchanged');
  });

  test('an expired session is no session', async () => {
    const { serial } = await provision(client);
    await logIn(client, serial);
    await client.query(`UPDATE m2m.session SET expires_at = now() - interval '1 s'`);
    expect(await call(client, 'disconnect_terminal', { serial })).toBe('no session');
    const { rowCount } = await client.query('SELECT FROM m2m.live_session WHERE serial = $1', [serial]);
    expect(rowCount).toBe(0);
  });
});

describe('audit', () => {
  test('tells actor and difference, of credentials only which', async () => {
    const { serial, imei } = await provision(client, { base_key: bytes(16) });
    await call(client, 'set_credentials', { serial, uplink_password: bytes(20), base_key: bytes(32) });
    await call(client, 'rebind_terminal', { serial, imei, imsi: '987654' });
    const { rows } = await client.query<{ actor: string; what: object }>(
      'SELECT actor, what FROM m2m.audit WHERE serial = $1 ORDER BY at',
      [serial],
    );
    expect(rows[0]!.what).toMatchObject({ imei, base_key: true });
    expect(rows[1]!.what).toEqual({ set: ['uplink_password', 'base_key'] });
    expect(rows[2]!.what).toMatchObject({ imsi: { to: '987654' } });
    expect(new Set(rows.map(({ actor }) => actor)).size).toBe(1);
  });

  test('holds no secret of any call', async () => {
    const { rows } = await client.query<{ all: string }>(
      'SELECT jsonb_agg(a)::text AS all FROM m2m.audit AS a',
    );
    expect(rows[0]!.all).not.toMatch(/sssss|secret|73737373/);
  });

  test.each(['UPDATE m2m.audit_log SET actor = NULL', 'DELETE FROM m2m.audit_log', 'TRUNCATE m2m.audit_log'])(
    '%s is refused even to the owner',
    async (statement) => {
      expect((await refusal(client.query(statement))).message).toBe('m2m.audit_log is append-only');
    },
  );
});
