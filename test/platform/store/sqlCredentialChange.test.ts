/** What operators' functions make of changes of secrets that are under way, of texts, and of packets. */
import type { Client } from 'pg';
import {
  call,
  imeiOf,
  logIn,
  openFixture,
  provision,
  refusal,
  sessionOf,
  someoneWaits,
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

const OF = '(SELECT id FROM m2m.terminal WHERE serial = $1)';

/** A terminal with a change under way, one text that waits and one that the network has. */
async function changing(): Promise<string> {
  const { serial } = await provision(client, { base_key: Buffer.alloc(16, 1), msisdn: '+4912345678' });
  await client.query(
    `UPDATE m2m.credential SET last_change_id = 5, change_id = 5, change_targets = 1, change_settled = 0,
       change_by_sms = true, change_text_at = now(), new_uplink_password = '\\x01aa' WHERE terminal_id = ${OF}`,
    [serial],
  );
  for (const status of ['waiting', 'sent'])
    await client.query(
      `INSERT INTO m2m.sms_outbox (terminal_id, serial, change_id, msisdn, text, opened, status)
       VALUES (${OF}, $1, 5, '+4912345678', '\\x01bb', 'M2M', $2)`,
      [serial, status],
    );
  return serial;
}

async function state(serial: string) {
  const { rows: changes } = await client.query<{ change: string | null; held: boolean; texted: boolean }>(
    `SELECT change_id AS change, new_uplink_password IS NOT NULL AS held, change_text_at IS NOT NULL AS texted
     FROM m2m.credential WHERE terminal_id = ${OF}`,
    [serial],
  );
  const { rows: texts } = await client.query<{ text: string }>(
    `SELECT concat_ws(' ', status, CASE WHEN text IS NOT NULL AND opened IS NOT NULL THEN 'held' END, last_error) AS text
     FROM m2m.sms_outbox WHERE terminal_id = ${OF} ORDER BY id`,
    [serial],
  );
  return { ...changes[0], texts: texts.map(({ text }) => text) };
}

const STANDS = { change: '5', held: true, texted: true, texts: ['waiting held', 'sent held'] };
const untold = (action: string) => ({ ...STANDS, texted: false, texts: [`void ${action}`, 'sent'] });
const gone = (action: string) => ({ ...untold(action), change: null, held: false });

test.each<[string, Arguments, (action: string) => unknown]>([
  ['suspend_terminal', {}, untold],
  ['retire_terminal', {}, gone],
  ['rebind_terminal', { imei: imeiOf(800_001), imsi: '460800001', msisdn: '+4912345678' }, gone],
  ['set_credentials', { downlink_password: Buffer.from('new') }, gone],
  ['drop_base_key', {}, gone],
  ['cancel_credential_change', {}, gone],
  ['set_contact', { msisdn: '+4987654321', label: null }, untold],
  ['set_contact', { msisdn: '+4912345678', label: 'x' }, () => STANDS],
  ['set_least_login', { least_login: 'hmac' }, () => STANDS],
])('%s %j: what becomes of a change and its texts', async (name, args, becomes) => {
  const serial = await changing();
  await call(client, name, { serial, ...args });
  expect(await state(serial)).toEqual(becomes(name));
});

test('swap_sims: what either SIM may have been told is void', async () => {
  const [one, other] = [await changing(), await changing()];
  await call(client, 'swap_sims', { serial: one, other_serial: other });
  expect([await state(one), await state(other)]).toEqual([gone('swap_sims'), gone('swap_sims')]);
});

test('of a password that is replaced only what a gateway has sealed is kept', async () => {
  const { serial } = await provision(client);
  const renew = async (by: string): Promise<unknown> => {
    await call(client, 'set_credentials', { serial, uplink_password: Buffer.from(by) });
    const { rows } = await client.query<{ kept: Buffer | null }>(
      `SELECT replaced_uplink_password AS kept FROM m2m.credential WHERE terminal_id = ${OF}`,
      [serial],
    );
    return rows[0]?.kept;
  };
  expect(await renew('first')).toBeNull();
  await client.query(`UPDATE m2m.credential SET uplink_password = '\\x01cc' WHERE terminal_id = ${OF}`, [
    serial,
  ]);
  expect(await renew('second')).toEqual(Buffer.from('01cc', 'hex'));
});

describe('values under which a terminal of WMMP 3.0 has logged in, and which it may hold alone', () => {
  const show = (by: Client, serial: string) =>
    by.query(`UPDATE m2m.credential SET change_shown_id = change_id WHERE terminal_id = ${OF}`, [serial]);

  test.each<[string, Arguments, string | null]>([
    ['rebind_terminal', { imei: imeiOf(800_002), imsi: '460800002', msisdn: null }, '5'],
    ['cancel_credential_change', {}, '5'],
    ['set_credentials', { uplink_password: Buffer.from('new') }, null],
    ['drop_base_key', {}, null],
  ])('%s: they stay, unless others take their place', async (name, args, left) => {
    const serial = await changing();
    await show(client, serial);
    await call(client, name, { serial, ...args });
    expect(await state(serial)).toMatchObject({ change: left, held: left !== null });
  });

  test('likewise where that login is just being committed', async () => {
    const serial = await changing();
    const gateway = await fixture.open();
    await gateway.query('BEGIN');
    await show(gateway, serial);
    const cancelled = call(client, 'cancel_credential_change', { serial });
    await someoneWaits(gateway);
    await gateway.query('COMMIT');
    expect([await cancelled, (await state(serial)).change]).toEqual(['unchanged', '5']);
  });
});

test('an end that comes after a session has ended leaves what was said of it', async () => {
  const serial = await changing();
  await logIn(client, serial);
  await call(client, 'suspend_terminal', { serial });
  const ended = await sessionOf(client, serial);
  expect(ended).toMatchObject({
    session_id: null,
    session_key: null,
    connected: false,
    end_reason: 'suspended',
  });
  await call(client, 'set_credentials', { serial, uplink_password: Buffer.from('new') });
  const { ended_at, end_reason } = await sessionOf(client, serial);
  expect([ended_at, end_reason]).toEqual([ended.ended_at, 'suspended']);
});

test('a wish for a base key, alone or with others, needs one that it replaces', async () => {
  const { serial } = await provision(client);
  for (const targets of ['{base_key}', '{uplink,base_key}']) {
    const { message } = await refusal(call(client, 'request_credential_change', { serial, targets }));
    expect(message).toMatch(/^targets: .* has no base key/);
  }
  expect(await call(client, 'request_credential_change', { serial, targets: '{uplink}' })).toBe('requested');
});

test('a wish that a commit is just fulfilling is wished anew', async () => {
  const { serial } = await provision(client);
  const wish = { serial, targets: '{uplink,downlink}' };
  expect(await call(client, 'request_credential_change', wish)).toBe('requested');
  expect(await call(client, 'request_credential_change', wish)).toBe('unchanged');
  const gateway = await fixture.open();
  await gateway.query('BEGIN');
  await gateway.query(`UPDATE m2m.credential SET wished_targets = 0 WHERE terminal_id = ${OF}`, [serial]);
  const asked = call(client, 'request_credential_change', wish);
  await someoneWaits(gateway);
  await gateway.query('COMMIT');
  expect(await asked).toBe('requested');
});

describe('texts that operators fetch', () => {
  const take = async (from: Client) =>
    (await from.query<{ serial: string }>('SELECT serial FROM m2m.take_sms(10000)')).rows.map(
      (row) => row.serial,
    );

  test('two who fetch at once never get the same one, and do not wait for each other', async () => {
    const serial = await changing();
    const other = await fixture.open();
    // Without it a failure of this test would take for ever.
    await other.query(`SET lock_timeout = '60 s'`);
    await client.query('BEGIN');
    expect(await take(client)).toContain(serial);
    expect(await take(other)).toEqual([]);
    await client.query('COMMIT');
    expect(await take(other)).toEqual([]);
  });

  test('one that is void stays so, whatever is said of it', async () => {
    const serial = await changing();
    await call(client, 'suspend_terminal', { serial });
    const { rows } = await client.query<{ id: string }>(
      `SELECT id FROM m2m.sms_outbox WHERE serial = $1 AND status = 'void'`,
      [serial],
    );
    const { id } = rows[0]!;
    expect(await call(client, 'acknowledge_sms', { id })).toBe('unchanged');
    expect(await call(client, 'acknowledge_sms', { id, error: 'no' })).toBe('unchanged');
    expect((await state(serial)).texts).toEqual(['void suspend_terminal', 'sent']);
  });
});

describe('credential packets', () => {
  const mint = async (serial: string, number: number) => {
    const { rows } = await client.query<{ issued_at: string }>(
      'SELECT issued_at FROM m2m.note_packet($1, $2, $3)',
      [serial, Buffer.alloc(8, number), Buffer.alloc(4, 0xab)],
    );
    return Number(rows[0]!.issued_at);
  };
  const revokedAt = async (serial: string) => {
    const { rows } = await client.query<{ at: string }>(
      'SELECT packets_revoked_at AS at FROM m2m.terminal WHERE serial = $1',
      [serial],
    );
    return Number(rows[0]!.at);
  };

  test('within one second: each revocation is for what was minted before it, and for nothing after', async () => {
    const { serial } = await provision(client, { base_key: Buffer.alloc(16, 1) });
    // A transaction has one time.
    await client.query('BEGIN');
    const first = await mint(serial, 1);
    expect(await call(client, 'revoke_packet', { serial })).toBe('revoked');
    expect(await revokedAt(serial)).toBe(first);
    const second = await mint(serial, 2);
    expect(second).toBe(first + 1);
    expect(await call(client, 'revoke_packet', { serial })).toBe('revoked');
    expect(await revokedAt(serial)).toBe(second);
    expect(await call(client, 'revoke_packet', { serial })).toBe('unchanged');
    await client.query('COMMIT');
  });

  test('who minted which one, under which key, is in the audit', async () => {
    const { serial } = await provision(client, { base_key: Buffer.alloc(16, 1) });
    await mint(serial, 7);
    const { rows } = await client.query(
      `SELECT what FROM m2m.audit_log WHERE serial = $1 AND action = 'mint_packet'`,
      [serial],
    );
    expect(rows).toEqual([{ what: { number: '07'.repeat(8), key: 'abababab' } }]);
  });
});

describe('provision_sealed', () => {
  const KEY = Buffer.from('0a0b0c0d', 'hex');
  const sealed = (size = 40, key = KEY, kind = 1) =>
    Buffer.concat([Buffer.of(kind), key, Buffer.alloc(size - 5, 0x77)]);
  const terminal = (extra: Arguments) => ({
    ...{ serial: 'SEALED', imei: imeiOf(800_100), imsi: '460800100' },
    ...{ uplink_password: sealed(), downlink_password: sealed(), ...extra },
  });

  beforeAll(() =>
    client.query(`INSERT INTO m2m.sealing_key (key_id, check_value) VALUES ($1, '\\x01')`, [KEY]),
  );

  test.each<[string, Buffer | null, RegExp]>([
    ['plain, and as long as a sealed one', sealed(40, KEY, 0), /is not sealed/],
    ['too short', sealed(33), /is not sealed/],
    [
      'under a key that nobody has',
      sealed(40, Buffer.from('ffffffff', 'hex')),
      /is sealed under key ffffffff/,
    ],
    ['nothing', null, /must not be NULL/],
  ])('a secret that is %s is refused', async (_, value, says) => {
    for (const column of ['uplink_password', 'downlink_password', 'base_key']) {
      // Without a base key there is nothing to seal.
      if (value === null && column === 'base_key') continue;
      const { message, code } = await refusal(
        call(client, 'provision_sealed', terminal({ [column]: value })),
      );
      expect(message).toMatch(says);
      expect([message.split(':')[0], code]).toEqual([column, '22023']);
    }
  });

  test('the shortest there is, and a base key: stored as they are; the same call again changes nothing', async () => {
    const secrets = { uplink_password: sealed(34), base_key: sealed(49) };
    expect(await call(client, 'provision_sealed', terminal(secrets))).toBe('provisioned');
    expect(await call(client, 'provision_sealed', terminal({ base_key: sealed(65) }))).toBe('unchanged');
    const { rows } = await client.query(
      `SELECT uplink_password, downlink_password, base_key, plain FROM m2m.credential
       WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = 'SEALED')`,
    );
    expect(rows).toEqual([{ ...secrets, downlink_password: sealed(), plain: false }]);
  });
});
