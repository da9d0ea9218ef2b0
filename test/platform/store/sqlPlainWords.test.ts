/** What views and functions tell operators in words. */
import { randomBytes } from 'node:crypto';
import type { Client } from 'pg';
import { call, imeiOf, openFixture, provision, refusal, type Fixture } from './sqlFixture';

let fixture: Fixture;
let client: Client;

beforeAll(async () => {
  fixture = await openFixture();
  client = fixture.client;
});

afterAll(() => fixture.close());

test('terminal_status tells why a terminal is suspended, and its phone number', async () => {
  const { serial } = await provision(client, { msisdn: '+8613800000001' });
  await call(client, 'suspend_terminal', { serial, reason: 'bill not paid' });
  const { rows } = await client.query(
    'SELECT status, status_reason, msisdn FROM m2m.terminal_status WHERE serial = $1',
    [serial],
  );
  expect(rows).toEqual([{ status: 'suspended', status_reason: 'bill not paid', msisdn: '+8613800000001' }]);
});

test('no packet is minted for a terminal that could not use it', async () => {
  const { serial } = await provision(client, { base_key: null });
  const mint = () => call(client, 'note_packet', { serial, number: randomBytes(8), key_id: randomBytes(4) });
  const { message } = await refusal(mint());
  expect(message).toMatch(
    /^serial: T-\d+ has no base key, .*m2m\.set_credentials\('T-\d+', base_key => \.\.\.\)/,
  );
  await call(client, 'set_credentials', { serial, base_key: randomBytes(16) });
  expect(await mint()).toBeTruthy();
});

test.each([
  ['clock-behind-by-4000s', {}, 'clock-off: .*; its clock was 4000s behind'],
  ['clock-ahead-by-301s', {}, 'clock-off: .*; its clock was 301s ahead'],
  // As gateways said it before.
  ['clock-off-by--4000s', {}, 'clock-off: .*; its clock was -4000s off'],
  ['below-least-login', { login: 'wmmp3', least_login: 'md5' }, 'came by wmmp3, least_login is md5$'],
  [
    'below-least-login',
    { login: 'wmmp3', least_login: 'hmac' },
    'came by wmmp3, least_login was hmac; least_login is md5 now$',
  ],
  ['below-least-login', { login: 'wmmp3' }, 'came by wmmp3, least_login is md5$'],
  ['below-least-login', { login: 'md5' }, 'came by md5; least_login is md5 now$'],
])('%s %j is told', async (reason, claims, told) => {
  const { serial } = await provision(client);
  const { rows } = await client.query<{ reason: string; advice: string }>(
    'SELECT reason, advice FROM m2m.explain_attempt($1, $2)',
    [serial, { reason, result: 'auth-failed', ...claims }],
  );
  expect(rows[0]!.reason).toMatch(new RegExp(told));
  const permitted = 'login' in claims && claims.login === 'md5';
  expect(rows[0]!.advice === 'this way in is permitted now').toBe(permitted);
});

describe('advice fits what the terminal is now', () => {
  interface Told {
    readonly reason: string;
    readonly advice: string;
  }
  async function told(serial: string, entry: Record<string, string>): Promise<Told> {
    const { rows } = await client.query<Told>('SELECT reason, advice FROM m2m.explain_attempt($1, $2)', [
      serial,
      { result: 'auth-failed', ...entry },
    ]);
    return rows[0]!;
  }

  test('of a retired one nothing is advised that would be refused', async () => {
    const { serial } = await provision(client);
    await call(client, 'retire_terminal', { serial });
    const { rows: reasons } = await client.query<{ name: string }>('SELECT name FROM m2m.reason');
    expect(reasons.length).toBeGreaterThan(30);
    for (const { name } of reasons) {
      const claims = { login: 'wmmp3', imei: imeiOf(1), imsi: '460001' };
      const { advice } = await told(serial, { reason: name, ...claims });
      expect(`${name}: ${advice}`).toBe(`${name}: provision the device under another serial`);
    }
  });

  test.each([
    ['unknown-serial', {}, 'it has been provisioned since'],
    ['suspended', {}, 'it has been resumed since'],
    ['no-base-key', {}, 'it has been given a base key since'],
    ['below-least-login', { login: 'hmac', least_login: 'mutual' }, 'this way in is permitted now'],
  ])('%s, which is no longer so', async (reason, claims, advice) => {
    const { serial } = await provision(client, { base_key: Buffer.alloc(16, 1) });
    expect(await told(serial, { reason, ...claims })).toMatchObject({ advice });
  });

  test('a module that has been bound since', async () => {
    const { serial, imei } = await provision(client);
    const now = await told(serial, { reason: 'other-imei', imei });
    expect(now.advice).toBe('it has been bound to these since');
    expect(now.reason).toContain(`IMEI ${imei}, which is bound to it now`);
    const both = await told(serial, { reason: 'other-imei-and-imsi', imei, imsi: '460001' });
    expect(both.advice).toContain('m2m.rebind_terminal');
    expect(both.reason).toContain('IMSI 460001 in place of');
  });

  test('what is still so', async () => {
    const { serial } = await provision(client);
    expect((await told(serial, { reason: 'no-base-key' })).advice).toContain('m2m.set_credentials');
    await call(client, 'suspend_terminal', { serial });
    expect((await told(serial, { reason: 'suspended' })).advice).toContain('m2m.resume_terminal');
    expect((await told('NOBODY', { reason: 'unknown-serial' })).advice).toContain('provision it');
  });
});

test('a new reason for what is suspended already leaves since when it is', async () => {
  const { serial } = await provision(client);
  const since = async () => {
    const { rows } = await client.query<{ since: string; why: string }>(
      `SELECT status_since::text AS since, status_reason AS why FROM m2m.terminal WHERE serial = $1`,
      [serial],
    );
    return rows[0]!;
  };
  const provisioned = await since();
  await call(client, 'suspend_terminal', { serial, reason: 'one' });
  const first = await since();
  expect(first.since).not.toBe(provisioned.since);
  expect(await call(client, 'suspend_terminal', { serial, reason: 'two' })).toBe('suspended');
  expect(await since()).toEqual({ ...first, why: 'two' });
  await call(client, 'resume_terminal', { serial });
  expect((await since()).since).not.toBe(first.since);
});
