/** What two operators do at the same moment, and what a change of a terminal makes of what was wished before. */
import type { Client } from 'pg';
import {
  call,
  logIn,
  newTerminal,
  openFixture,
  provision,
  refusal,
  sessionOf,
  someoneWaits,
  type Fixture,
  type TerminalArguments,
} from './sqlFixture';

let fixture: Fixture;
let client: Client;

beforeAll(async () => {
  fixture = await openFixture();
  client = fixture.client;
});
afterAll(() => fixture.close());

async function load(by: Client, ...lines: TerminalArguments[]): Promise<void> {
  await by.query(
    `INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password)
     SELECT serial, imei, imsi, 'up', 'down' FROM unnest($1::text[], $2::text[], $3::text[]) AS l (serial, imei, imsi)`,
    [lines.map(({ serial }) => serial), lines.map(({ imei }) => imei), lines.map(({ imsi }) => imsi)],
  );
}

async function faults(by: Client, allOrNothing = true): Promise<[number, string, string][]> {
  const { rows } = await by.query<{ line: string; column_name: string; reason: string }>(
    'SELECT * FROM m2m.import_terminals($1)',
    [allOrNothing],
  );
  return rows.map((row) => [Number(row.line), row.column_name, row.reason]);
}

async function known(...terminals: TerminalArguments[]): Promise<number> {
  const serials = terminals.map(({ serial }) => serial);
  return (await client.query('SELECT FROM m2m.terminal WHERE serial = ANY ($1)', [serials])).rowCount ?? 0;
}

/** An import of these lines, which found nothing wrong with them when the terminal was not committed yet. */
async function importAround(
  terminal: TerminalArguments,
  lines: TerminalArguments[],
  { allOrNothing = true, begin = 'BEGIN' } = {},
): Promise<[number, string, string][]> {
  const [other, importer] = [await fixture.open(), await fixture.open()];
  await other.query('BEGIN');
  await call(other, 'provision_terminal', terminal);
  await importer.query(begin);
  try {
    await load(importer, ...lines);
    const found = faults(importer, allOrNothing);
    found.catch(() => undefined);
    await someoneWaits(client);
    await other.query('COMMIT');
    const answer = await found;
    await importer.query('COMMIT');
    return answer;
  } finally {
    await importer.query('ROLLBACK');
  }
}

describe('a terminal that is provisioned while an import has a line for it', () => {
  test.each([
    ['serial', () => 'is already provisioned with another imei, imsi'],
    ['imei', (serial: string, value: string) => `${value} belongs to terminal ${serial}`],
    ['imsi', (serial: string, value: string) => `${value} belongs to terminal ${serial}`],
  ] as const)('the same %s: a line that is bad, as at any other time', async (shared, reason) => {
    const [there, good, bad] = [newTerminal(), newTerminal(), newTerminal()];
    const twin = { ...bad, [shared]: there[shared] };
    const expected = [[2, shared, reason(there.serial, there[shared])]];
    expect(await importAround(there, [good, twin])).toEqual(expected);
    expect(await known(good, bad)).toBe(0);
    expect((await client.query('SELECT FROM m2m.terminal_import')).rowCount).toBe(0);
  });

  test('the good lines alone are taken', async () => {
    const [there, good, bad] = [newTerminal(), newTerminal(), newTerminal()];
    const lines = [{ ...bad, imei: there.imei }, good];
    const expected = [[1, 'imei', `${there.imei} belongs to terminal ${there.serial}`]];
    expect(await importAround(there, lines, { allOrNothing: false })).toEqual(expected);
    expect(await known(good, bad)).toBe(1);
  });

  test('with the same values it is no fault', async () => {
    const [there, good] = [newTerminal(), newTerminal()];
    expect(await importAround(there, [there, good])).toEqual([]);
    expect(await known(there, good)).toBe(2);
  });

  test.each(['REPEATABLE READ', 'SERIALIZABLE'])('%s: the error says what was taken', async (level) => {
    const [there, bad] = [newTerminal(), newTerminal()];
    const begin = `BEGIN ISOLATION LEVEL ${level}`;
    const refused = await refusal(importAround(there, [{ ...bad, imsi: there.imsi }], { begin }));
    expect(refused).toEqual({
      message: `imsi: ${there.imsi} has just been taken by another session; nothing was changed, try again in a new transaction`,
      code: '40001',
    });
  });
});

test('lines are counted on behind those that a rollback has brought back', async () => {
  const importer = await fixture.open();
  await load(importer, newTerminal(), newTerminal(), newTerminal());
  await importer.query('BEGIN');
  await importer.query('DELETE FROM m2m.terminal_import');
  await load(importer, newTerminal());
  await importer.query('ROLLBACK');
  await load(importer, { ...newTerminal(), imsi: 'none' });
  expect(await faults(importer)).toEqual([[4, 'imsi', expect.stringContaining('is no IMSI')]]);
  await load(importer, { ...newTerminal(), imsi: 'none' });
  expect(await faults(importer)).toEqual([[1, 'imsi', expect.stringContaining('is no IMSI')]]);
});

test('an import makes no temporary table, whose name the session may have taken', async () => {
  const importer = await fixture.open();
  await importer.query('CREATE TEMPORARY TABLE import_fault (line text)');
  const good = newTerminal();
  await load(importer, good, { ...newTerminal(), imsi: 'none' });
  expect(await faults(importer, false)).toEqual([[2, 'imsi', expect.stringContaining('is no IMSI')]]);
  expect(await known(good)).toBe(1);
});

test('a rebinding that cannot see who has the IMEI by now says which one it is', async () => {
  const [mine, rebinder] = [await provision(client), await fixture.open()];
  await rebinder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await rebinder.query('SELECT FROM m2m.terminal');
  const { imei } = await provision(client);
  const refused = await refusal(
    call(rebinder, 'rebind_terminal', { serial: mine.serial, imei, imsi: mine.imsi }),
  );
  expect(refused.message).toMatch(new RegExp(`^imei: ${imei} has just been taken`));
  expect(refused.code).toBe('40001');
});

const OF = 'terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)';

/** As a gateway leaves a change that the terminal has not confirmed. */
async function pend(serial: string): Promise<void> {
  await client.query(
    String.raw`UPDATE m2m.credential SET change_id = 7, last_change_id = 7, change_targets = 1, change_settled = 0,
      change_by_sms = true, new_uplink_password = '\x01aa' WHERE ${OF}`,
    [serial],
  );
}

async function pendingOf(serial: string): Promise<unknown> {
  const { rows } = await client.query<{ pending_change: unknown }>(
    'SELECT pending_change FROM m2m.terminal_status WHERE serial = $1',
    [serial],
  );
  return rows[0]!.pending_change;
}

const wish = (serial: string, targets: string) =>
  call(client, 'request_credential_change', { serial, targets });

describe('what was wished or pending', () => {
  test.each([{ msisdn: '22222' }, {}])(
    'rebinding to another number alone, %j: void, and the session stands',
    async (number) => {
      const { serial, imei, imsi } = await provision(client, { msisdn: '11111' });
      await logIn(client, serial);
      await pend(serial);
      expect(await call(client, 'rebind_terminal', { serial, imei, imsi, ...number })).toBe('rebound');
      expect(await pendingOf(serial)).toBeNull();
      expect((await sessionOf(client, serial)).session_id).not.toBeNull();
    },
  );

  test('a number that is corrected: the change goes on', async () => {
    const { serial } = await provision(client, { msisdn: '11111' });
    await pend(serial);
    await call(client, 'set_contact', { serial, msisdn: '22222', label: null });
    expect(await pendingOf(serial)).toBe('pending by SMS: uplink');
  });

  test('a terminal without a base key is not asked for a new one', async () => {
    const { serial } = await provision(client, { base_key: Buffer.alloc(16, 1) });
    await wish(serial, '{uplink,base_key}');
    await call(client, 'drop_base_key', { serial });
    expect(await pendingOf(serial)).toBe('wished: uplink');
  });

  test('a target that is none is told, not all of it', async () => {
    const { serial } = await provision(client);
    const refused = await refusal(wish(serial, `{${'x'.repeat(100_000)}}`));
    expect(refused.message).toBe(`targets: '${'x'.repeat(40)}' is none of uplink, downlink, base_key`);
  });

  test('a retired terminal is asked for nothing', async () => {
    const { serial } = await provision(client);
    await wish(serial, '{downlink}');
    await pend(serial);
    await call(client, 'retire_terminal', { serial });
    expect(await pendingOf(serial)).toBeNull();
    const { rows } = await client.query(`SELECT new_uplink_password FROM m2m.credential WHERE ${OF}`, [
      serial,
    ]);
    expect(rows).toEqual([{ new_uplink_password: null }]);
  });
});
