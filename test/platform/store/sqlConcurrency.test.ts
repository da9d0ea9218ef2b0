import type { Client } from 'pg';
import {
  call,
  imeiOf,
  logIn,
  newTerminal,
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
let first: Client;
let second: Client;

beforeAll(async () => {
  fixture = await openFixture();
  [client, first, second] = [fixture.client, await fixture.open(), await fixture.open()];
});

afterAll(() => fixture.close());

/** `early` in an open transaction, `late` started while it is open, then the transaction's end. */
async function race<T>(
  early: () => Promise<unknown>,
  late: () => Promise<T>,
  end: 'COMMIT' | 'ROLLBACK' = 'COMMIT',
): Promise<T> {
  await first.query('BEGIN');
  await early();
  const outcome = late();
  // Handled below; this only keeps an early refusal from being an unhandled one.
  outcome.catch(() => undefined);
  await someoneWaits(client);
  await first.query(end);
  return outcome;
}

describe('two provisions at once', () => {
  test.each([
    ['COMMIT', 'unchanged'],
    ['ROLLBACK', 'provisioned'],
  ] as const)('of the same terminal, the first ends with %s: the second is %s', async (end, answer) => {
    const terminal = newTerminal();
    const outcome = await race(
      () => call(first, 'provision_terminal', terminal),
      () => call(second, 'provision_terminal', terminal),
      end,
    );
    expect(outcome).toBe(answer);
    const { rowCount } = await client.query('SELECT FROM m2m.terminal WHERE serial = $1', [terminal.serial]);
    expect(rowCount).toBe(1);
  });

  test.each(['serial', 'imei', 'imsi'] as const)(
    'of the same %s: one is refused and told why',
    async (shared) => {
      const [one, other] = [newTerminal(), newTerminal()];
      const refused = await refusal(
        race(
          () => call(first, 'provision_terminal', one),
          () => call(second, 'provision_terminal', { ...other, [shared]: one[shared] }),
        ),
      );
      expect(refused.code).toBe('23505');
      expect(refused.message).toMatch(
        new RegExp(`^${shared}: ${one[shared]} (is already|belongs to terminal)`),
      );
      expect(refused.message).not.toMatch(/constraint|duplicate key/);
    },
  );

  test('twenty at once make one row', async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => fixture.open()));
    const terminal = newTerminal();
    const answers = await Promise.all(clients.map((each) => call(each, 'provision_terminal', terminal)));
    expect(answers.filter((answer) => answer === 'provisioned')).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'unchanged')).toHaveLength(19);
  });
});

describe('two changes at once', () => {
  test.each(['imei', 'imsi'] as const)('rebinding to the same %s: one is refused', async (shared) => {
    const [one, other] = [await provision(client), await provision(client)];
    const wanted = { imei: imeiOf(700_000), imsi: '700000' };
    const refused = await refusal(
      race(
        () => call(first, 'rebind_terminal', { ...wanted, serial: one.serial }),
        () =>
          call(second, 'rebind_terminal', {
            imei: other.imei,
            imsi: other.imsi,
            [shared]: wanted[shared],
            serial: other.serial,
          }),
      ),
    );
    expect(refused).toEqual({
      message: `${shared}: ${wanted[shared]} belongs to terminal ${one.serial}`,
      code: '23505',
    });
    await call(client, 'retire_terminal', { serial: one.serial });
  });

  test.each<[string, Arguments]>([
    ['resume_terminal', {}],
    ['set_contact', { msisdn: null, label: 'x' }],
    ['request_credential_change', { targets: '{uplink}' }],
  ])('%s of one that is just being retired is refused: that is for good', async (name, args) => {
    const { serial } = await provision(client);
    await call(client, 'suspend_terminal', { serial });
    const refused = await refusal(
      race(
        () => call(first, 'retire_terminal', { serial }),
        () => call(second, name, { serial, ...args }),
      ),
    );
    expect(refused.message).toMatch(/is retired, which is for good/);
    const { rows } = await client.query('SELECT status FROM m2m.terminal WHERE serial = $1', [serial]);
    expect(rows).toEqual([{ status: 'retired' }]);
  });

  test('swaps in both directions never deadlock', async () => {
    const [one, other] = [(await provision(client)).serial, (await provision(client)).serial];
    const swaps = async (by: Client, serial: string, other_serial: string): Promise<void> => {
      for (let round = 0; round < 20; round += 1) await call(by, 'swap_sims', { serial, other_serial });
    };
    await Promise.all([swaps(first, one, other), swaps(second, other, one), swaps(client, one, other)]);
    expect((await sessionOf(client, one)).revision).toBe(62);
  });
});

test('a swap takes terminals in order of id, whichever is named first', async () => {
  const [lower, higher] = [(await provision(client)).serial, (await provision(client)).serial];
  const label = (serial: string) => call(first, 'set_contact', { serial, msisdn: null, label: 'x' });
  await first.query('BEGIN');
  await label(lower);
  const swapped = call(second, 'swap_sims', { serial: higher, other_serial: lower });
  await someoneWaits(client);
  // A swap that held the higher one by now would be a deadlock.
  expect(await label(higher)).toBe('changed');
  await first.query('COMMIT');
  expect(await swapped).toBe('swapped');
});

test('lifting takes counts in the order in which gateways write them', async () => {
  const count = `INSERT INTO m2m.throttle (serial, address, failures, expires_at)
    VALUES ($1, '192.0.2.77', 20, now() + interval '1 hour')`;
  for (const serial of ['Z', 'A']) await client.query(count, [serial]);
  const fail = (serial: string) =>
    first.query('UPDATE m2m.throttle SET failures = 21 WHERE serial = $1', [serial]);
  await first.query('BEGIN');
  await fail('A');
  const lifted = call(second, 'lift_throttle', { address: '192.0.2.77' });
  await someoneWaits(client);
  // As above.
  expect((await fail('Z')).rowCount).toBe(1);
  await first.query('COMMIT');
  expect(await lifted).toBe('lifted');
});

describe('a login and an operator’s change are serial', () => {
  test.each([
    ['suspend_terminal', { reason: 'stolen' }],
    ['set_least_login', { least_login: 'mutual' }],
    ['set_credentials', { uplink_password: Buffer.from('new') }],
  ])('a login that waits for %s is not granted', async (name, args) => {
    const { serial } = await provision(client);
    const { revision } = await sessionOf(client, serial);
    const granted = await race(
      () => call(first, name, { serial, ...args }),
      () => logIn(second, serial, revision),
    );
    expect(granted).toBe(false);
    expect((await sessionOf(client, serial)).session_id).toBeNull();
  });

  test.each([
    ['suspend_terminal', 'suspended'],
    ['disconnect_terminal', 'disconnected'],
    ['retire_terminal', 'retired'],
  ])('%s ends a login that was being committed', async (name, answer) => {
    const { serial } = await provision(client);
    const outcome = await race(
      () => logIn(first, serial),
      () => call(second, name, { serial }),
    );
    expect(outcome).toBe(answer);
    expect((await sessionOf(client, serial)).session_id).toBeNull();
  });
});

test('gateways are notified at the commit, once a transaction', async () => {
  const { serial } = await provision(client);
  const notified: (string | undefined)[] = [];
  second.on('notification', ({ channel, payload }) => notified.push(`${channel}:${payload}`));
  await second.query('LISTEN m2m_change');
  await first.query('BEGIN');
  await call(first, 'suspend_terminal', { serial, reason: null });
  await call(first, 'resume_terminal', { serial });
  await second.query('SELECT 1');
  expect(notified).toEqual([]);
  await first.query('COMMIT');
  while (notified.length === 0) await second.query('SELECT pg_sleep(0.01)');
  expect(notified).toEqual(['m2m_change:']);
  const { rows } = await client.query<{ rows: string; transactions: string }>(
    `SELECT count(*) AS rows, count(DISTINCT txid) AS transactions FROM m2m.change
     WHERE serial = $1 AND action <> 'terminal-provisioned' AND instance IS NULL`,
    [serial],
  );
  expect(rows[0]).toEqual({ rows: '2', transactions: '1' });
  await second.query('UNLISTEN *');
});

/** All sessions of the database log in. @returns how many rows were updated, and how many of them heap-only */
async function allLogIn(): Promise<{ updated: number; hot: number }> {
  await client.query('BEGIN');
  await client.query(
    `UPDATE m2m.session SET session_id = substr(uuid_send(gen_random_uuid()), 1, 8), started_at = now(),
       logins = (gen_random_uuid() || logins)[1:64], connected = true, instance = 1, last_login_at = now(),
       expires_at = now() + interval '1 day', session_key = '\\x01'::bytea || uuid_send(gen_random_uuid())`,
  );
  const { rows } = await client.query<{ updated: number; hot: number }>(
    `SELECT pg_stat_get_xact_tuples_updated(c)::integer AS updated,
       pg_stat_get_xact_tuples_hot_updated(c)::integer AS hot
     FROM (SELECT 'm2m.session'::regclass::oid AS c) AS each`,
  );
  await client.query('COMMIT');
  return rows[0]!;
}

test('logins are heap-only updates, with full replay windows too', async () => {
  for (let count = 0; count < 100; count += 1) await provision(client);
  for (let round = 0; round < 64; round += 1) await allLogIn();
  // Whoever has a transaction open, in whatever database of the server, holds up the clearing of pages: tests that
  // What runs beside this test may hold up the clearing of pages: the best of several times counts.
  let best = 0;
  for (let time = 0; time < 60 && best <= 0.95; time += 1) {
    let [updated, hot] = [0, 0];
    for (let round = 0; round < 20; round += 1) {
      const each = await allLogIn();
      updated += each.updated;
      hot += each.hot;
    }
    expect(updated).toBeGreaterThan(2_000);
    best = Math.max(best, hot / updated);
  }
  expect(best).toBeGreaterThan(0.95);
});
