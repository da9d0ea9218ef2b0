/** m2m.take_sms and m2m.acknowledge_sms, called as m2m_operator; the gateway's part is played step by step. */
import { Operator } from '../../support/operator';
import { hurry } from '../../support/texts';
import { openOutbox, type OutboxFixture } from './outboxFixture';

interface Taken {
  readonly id: string;
  readonly serial: string;
  readonly msisdn: string;
  readonly text: string;
}

let fixture: OutboxFixture;
let caller: Operator;

beforeAll(async () => {
  fixture = await openOutbox();
  caller = await Operator.connect(fixture.url);
  await caller.sql('SET ROLE m2m_operator');
});
afterAll(async () => {
  await caller?.close();
  await fixture?.close();
});
beforeEach(() => fixture.operator.sql('DELETE FROM m2m.sms_outbox'));

const take = (most = 100, lease = '5 minutes') =>
  caller.sql<Taken>('SELECT * FROM m2m.take_sms($1, $2)', [most, lease]);
const acknowledge = async (id: number, error: string | null = null) => {
  const [answer] = await caller.sql<{ said: string }>('SELECT m2m.acknowledge_sms($1, $2) AS said', [
    id,
    error,
  ]);
  return answer!.said;
};
/** What is written in the table, as one text. */
const dump = async () =>
  JSON.stringify(await fixture.operator.sql('SELECT to_jsonb(o) FROM m2m.sms_outbox AS o'));

async function taken(text: string) {
  const written = await fixture.write(text);
  await take();
  await fixture.outbox.openAsked();
  expect(await take()).toHaveLength(1);
  return written;
}

test('the first call asks, a later one has the texts, oldest first; each is handed out once', async () => {
  const [one, two] = [await fixture.write('secret one'), await fixture.write('secret two')];
  await fixture.outbox.openAsked();
  expect(await dump()).not.toContain('secret');
  expect(await take()).toEqual([]);
  await fixture.outbox.openAsked();
  expect(await take(1)).toEqual([
    { id: String(one.id), serial: one.serial, msisdn: '+41790000000', text: 'secret one' },
  ]);
  expect(await take()).toMatchObject([{ id: String(two.id), text: 'secret two' }]);
  expect(await take()).toEqual([]);
});

test('acknowledged: delivered, gone, and settled for good', async () => {
  const { id, serial } = await taken('secret');
  expect(await acknowledge(id)).toBe('delivered');
  expect(await fixture.row(serial)).toMatchObject({ status: 'delivered', text: null, opened: null });
  expect(await acknowledge(id)).toBe('unchanged');
  expect(await acknowledge(id, 'late')).toBe('unchanged');
});

test('acknowledged with an error: waits 30 s, and nobody opens it until it is asked for again', async () => {
  const { id, serial } = await taken('secret');
  expect(await acknowledge(id, 'modem is away')).toBe('waiting');
  const waiting = await fixture.row(serial);
  expect(waiting).toMatchObject({ status: 'waiting', last_error: 'modem is away', attempts: 1 });
  expect(waiting.wait).toBeGreaterThan(0);
  await fixture.outbox.openAsked();
  expect(await dump()).not.toContain('secret');
  expect(await take()).toEqual([]);
  await hurry(fixture.operator, { serial });
  await take();
  await fixture.outbox.openAsked();
  expect(await take()).toMatchObject([{ id: String(id), text: 'secret' }]);
});

test('not acknowledged: handed out again after its lease, and not in plain meanwhile', async () => {
  const { id, serial } = await taken('secret');
  expect((await fixture.row(serial)).wait).toBeGreaterThan(60);
  await fixture.outbox.openAsked();
  expect(await dump()).not.toContain('secret');
  await hurry(fixture.operator, { serial });
  await take();
  await fixture.outbox.openAsked();
  expect(await take()).toMatchObject([{ id: String(id) }]);
  expect(await acknowledge(id)).toBe('delivered');
});

test('opened by two gateways at once, and fetched in between: not opened once more', async () => {
  const { serial } = await fixture.write('secret');
  await take();
  await Promise.all([fixture.outbox.openAsked(), fixture.outbox.openAsked(), take(), take()]);
  await fixture.outbox.openAsked();
  await take();
  await fixture.outbox.openAsked();
  expect(await fixture.row(serial)).toMatchObject({ status: 'sending', opened: null, attempts: 1 });
});

test('a call that is rolled back has taken nothing', async () => {
  await fixture.write('secret');
  await take();
  await fixture.outbox.openAsked();
  await caller.sql('BEGIN');
  expect(await take()).toHaveLength(1);
  await caller.sql('ROLLBACK');
  expect(await take()).toHaveLength(1);
});

test.each([
  ['take_sms(0)', 'most'],
  ['take_sms(10001)', 'most'],
  ['take_sms(NULL)', 'most'],
  [`take_sms(1, '0')`, 'lease'],
  [`take_sms(1, '25 hours')`, 'lease'],
  ['take_sms(1, NULL)', 'lease'],
  ['acknowledge_sms(0)', 'id'],
  ['acknowledge_sms(NULL)', 'id'],
  [`acknowledge_sms(1, repeat('x', 201))`, 'error'],
])('%s is refused by its %s', async (call, argument) => {
  await expect(caller.sql(`SELECT m2m.${call}`)).rejects.toThrow(new RegExp(`^${argument}`));
});

test('what was not handed out is not acknowledged', async () => {
  const { id } = await fixture.write('secret');
  await expect(acknowledge(id)).rejects.toThrow(`id: text ${id} waits to be handed out`);
  await expect(acknowledge(0)).rejects.toThrow('id: there is no text 0');
});

test('an operator reads the status view, never the table', async () => {
  const { serial } = await fixture.write('secret');
  const columns = 'id, serial, status, attempts, created_at, next_try_at, last_error'.split(', ');
  const [shown] = await caller.sql('SELECT * FROM m2m.sms_outbox_status WHERE serial = $1', [serial]);
  expect(Object.keys(shown!)).toEqual(columns);
  await expect(caller.sql('SELECT FROM m2m.sms_outbox')).rejects.toThrow(/permission denied/);
});
