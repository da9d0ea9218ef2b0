/** The outbox in a real database: who gets which text when, and what is left of it afterwards. */
import type { Outbox } from '../../../src/platform/store/outbox';
import { Operator } from '../../support/operator';
import { hurry, outboxOf } from '../../support/texts';
import { openOutbox, type OutboxFixture } from './outboxFixture';

let fixture: OutboxFixture;
let outbox: Outbox;
let operator: Operator;

beforeAll(async () => {
  fixture = await openOutbox();
  ({ outbox, operator } = fixture);
});
afterAll(() => fixture?.close());
beforeEach(() => operator.sql('DELETE FROM m2m.sms_outbox'));

const write: OutboxFixture['write'] = (...told) => fixture.write(...told);
const set: OutboxFixture['set'] = (...told) => fixture.set(...told);
const row: OutboxFixture['row'] = (...told) => fixture.row(...told);
const at = (serial: string) => ({ serial });

describe('taking', () => {
  test('each text once a minute, by whoever comes first, and the oldest of a terminal only', async () => {
    const one = await write('one');
    const later = await write('later', { serial: one.serial });
    const two = await write('two');
    const both = (await Promise.all([outbox.take(10), outbox.take(10)])).flat();
    expect(both.map(({ text }) => text).sort()).toEqual(['one', 'two']);
    expect(both.find(({ id }) => id === one.id)).toEqual({
      id: one.id,
      serial: one.serial,
      msisdn: '+41790000000',
      text: 'one',
      attempts: 1,
    });
    expect(await outbox.take(10)).toEqual([]);
    await outbox.delivered(one.id);
    expect((await outbox.take(10)).map(({ id }) => id)).toEqual([later.id]);
    await hurry(operator, two);
    expect(await outbox.take(10)).toMatchObject([{ id: two.id, attempts: 2 }]);
  });

  test('no more than asked for, oldest first; one that failed waits', async () => {
    const one = await write('one');
    const two = await write('two');
    expect(await outbox.take(1)).toMatchObject([{ id: one.id }]);
    await outbox.failed(one.id, 'HTTP status 500', 100);
    expect(await row(one.serial)).toMatchObject({ status: 'waiting', last_error: 'HTTP status 500' });
    expect(await outbox.take(10)).toMatchObject([{ id: two.id }]);
  });

  test('one that does not open is told, and holds nobody up', async () => {
    const bad = await write('bad');
    await set(bad.id, String.raw`text = '\x01aabbccdd'`);
    const good = await write('good');
    expect(await outbox.take(10)).toMatchObject([{ id: good.id }]);
    expect(fixture.unreadable).toEqual([bad.serial]);
  });
});

async function accepted(messageId: string) {
  const written = await write('sent');
  await outbox.take(1);
  await outbox.accepted(written.id, messageId);
  return written;
}
const delivered = (messageId: string) => outbox.receipt({ messageId, delivered: true, state: 'DELIVRD' });
const undelivered = (messageId: string) => outbox.receipt({ messageId, delivered: false, state: 'UNDELIV' });

describe.each([
  ['set_credentials', `m2m.set_credentials(serial, 'other')`],
  ['cancel_credential_change', 'm2m.cancel_credential_change(serial)'],
  ['rebind_terminal', `m2m.rebind_terminal(serial, imei, '470' || substr(imsi, 4), msisdn)`],
  ['suspend_terminal', 'm2m.suspend_terminal(serial)'],
  ['retire_terminal', 'm2m.retire_terminal(serial)'],
  ['a phone number that is taken away', 'm2m.rebind_terminal(serial, imei, imsi)'],
  ['another phone number', `m2m.set_contact(serial, '+41791111111', NULL)`],
])('%s', (_name, statement) => {
  const change = (serial: string) =>
    operator.sql(`SELECT ${statement} FROM m2m.terminal WHERE serial = $1`, [serial]);

  test('voids what is waiting, and what is being sent, whatever comes back', async () => {
    const { id, serial } = await write('void');
    const waiting = await write('waiting', { serial });
    await outbox.take(1);
    await change(serial);
    await outbox.failed(id, 'away', 0);
    await outbox.accepted(id, 'm');
    await outbox.delivered(id);
    const rows = await outboxOf(operator, at(serial));
    expect(rows).toMatchObject(
      [id, waiting.id].map((each) => ({ id: each, status: 'void', text: null, opened: null })),
    );
  });

  test('of what the network has a receipt may come, but it does not go out again', async () => {
    const { serial } = await accepted('c');
    await change(serial);
    expect(await row(serial)).toMatchObject({ status: 'sent', text: null });
    await undelivered('c');
    expect(await row(serial)).toMatchObject({ status: 'failed', text: null });
    expect(await outbox.take(10)).toEqual([]);
  });
});

describe('receipts', () => {
  test('delivered: the text is gone; the same receipt again is of nothing', async () => {
    const { id, serial } = await accepted('a');
    expect(await row(serial)).toMatchObject({ status: 'sent', message_id: 'a' });
    expect(await delivered('a')).toEqual({ id, serial });
    expect(await row(serial)).toMatchObject({ status: 'delivered', text: null });
    expect(await delivered('a')).toBeUndefined();
    expect(await delivered('other')).toBeUndefined();
  });

  test('not delivered: once more in a minute, and the receipt of the second try counts', async () => {
    const { serial, id } = await accepted('b');
    expect(await undelivered('b')).toEqual({ id, serial });
    const waiting = await row(serial);
    expect(waiting).toMatchObject({ status: 'waiting', last_error: 'not delivered: UNDELIV' });
    expect(waiting.wait).toBeGreaterThan(0);
    expect(await undelivered('b')).toBeUndefined();
    await hurry(operator, at(serial));
    expect(await outbox.take(1)).toMatchObject([{ id, text: 'sent', attempts: 2 }]);
    await outbox.accepted(id, 'b2');
    await delivered('b2');
    expect(await row(serial)).toMatchObject({ status: 'delivered', last_error: null });
  });

  test('not delivered, but confirmed meanwhile: it does not go out again', async () => {
    const { serial } = await accepted('c');
    await operator.sql(
      'UPDATE m2m.credential SET change_id = NULL WHERE terminal_id = (SELECT id FROM m2m.terminal WHERE serial = $1)',
      [serial],
    );
    await undelivered('c');
    expect(await row(serial)).toMatchObject({ status: 'failed', text: null });
  });

  test('not delivered, and a newer text is there: the newer one stands', async () => {
    const { serial, id } = await accepted('d');
    const newer = await write('newer', { serial });
    await undelivered('d');
    expect(await outbox.take(10)).toMatchObject([{ id: newer.id }]);
    expect((await outboxOf(operator, at(serial))).find((one) => one.id === id)).toMatchObject({
      status: 'failed',
      text: null,
    });
  });

  test('an SMSC that gives no id: no receipt is of that text', async () => {
    const { serial } = await accepted('');
    expect(await delivered('')).toBeUndefined();
    expect(await row(serial)).toMatchObject({ status: 'sent', message_id: null });
  });
});

describe('tidying', () => {
  const OLD = "created_at = now() - interval '61 s'";

  test('gives up what waits too long, and says why; keeps the row', async () => {
    const [old, young] = [await write('old'), await write('young')];
    await outbox.take(1);
    await outbox.failed(old.id, 'HTTP status 500', 0);
    await set(old.id, OLD);
    expect(await outbox.tidy(60)).toEqual([{ ...old, why: 'given up: HTTP status 500' }]);
    expect(await row(old.serial)).toMatchObject({ status: 'failed', text: null });
    expect(await row(young.serial)).toMatchObject({ status: 'waiting' });
    expect(await outbox.tidy(60)).toEqual([]);
  });

  test('keeps no text of what the network took and never spoke of again', async () => {
    const { id, serial } = await write('sent');
    await outbox.take(1);
    await outbox.accepted(id, 'm');
    await set(id, OLD);
    expect(await outbox.tidy(60)).toEqual([]);
    expect(await row(serial)).toMatchObject({ status: 'sent', text: null });
  });

  test('closes what was opened and is not fetched, whichever way texts go now', async () => {
    const { id, serial } = await write('opened');
    await set(id, "opened = 'opened', asked_at = now() - interval '4 minutes'");
    await outbox.tidy(60);
    expect(await row(serial)).toMatchObject({ opened: 'opened' });
    await set(id, "asked_at = now() - interval '6 minutes'");
    await outbox.tidy(60);
    expect(await row(serial)).toMatchObject({ opened: null, asked_at: null, status: 'waiting' });
  });

  test('passes over what an operator holds in an open transaction', async () => {
    const [held, free] = [await write('held'), await write('free')];
    for (const { id } of [held, free]) await set(id, OLD);
    const other = await Operator.connect(fixture.url);
    await other.sql('BEGIN');
    await other.sql('SELECT m2m.suspend_terminal($1)', [held.serial]);
    expect(await outbox.tidy(60)).toEqual([{ ...free, why: 'given up' }]);
    await other.sql('ROLLBACK');
    await other.close();
    expect(await outbox.tidy(60)).toEqual([{ ...held, why: 'given up' }]);
  });

  test('deletes what has been settled for 30 days', async () => {
    const { id, serial } = await write('ancient');
    await outbox.take(1);
    await outbox.delivered(id);
    await set(id, "created_at = now() - interval '29 days'");
    await outbox.tidy(60);
    expect(await outboxOf(operator, at(serial))).toHaveLength(1);
    await set(id, "created_at = now() - interval '31 days'");
    await outbox.tidy(60);
    expect(await outboxOf(operator, at(serial))).toEqual([]);
  });
});
