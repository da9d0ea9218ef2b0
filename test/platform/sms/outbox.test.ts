/** The outbox in a real database: who gets which text when, and what is left of it afterwards. */
import type { Receipt } from '../../../src/platform/sms/transport';
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
const first = (id: number) => ({ id, attempts: 1 });

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
    await outbox.failed(first(one.id), 'HTTP status 500', 100);
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
  await outbox.accepted(first(written.id), messageId);
  return written;
}
const found = async (told: Pick<Receipt, 'messageId' | 'delivered' | 'state'>, phones: string[]) =>
  (await outbox.receipt({ ...told, phones })).text;
const delivered = (messageId: string, ...phones: string[]) =>
  found({ messageId, delivered: true, state: 'DELIVRD' }, phones);
const undelivered = (messageId: string) => found({ messageId, delivered: false, state: 'UNDELIV' }, []);

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
    await outbox.failed(first(id), 'away', 0);
    await outbox.accepted(first(id), 'm');
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
    await outbox.accepted({ id, attempts: 2 }, 'b2');
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

describe('an attempt that another gateway has overtaken', () => {
  test.each([
    ['refused', (id: number) => outbox.failed(first(id), 'late', 0)],
    ['accepted', (id: number) => outbox.accepted(first(id), 'late')],
  ])('%s: the newer one counts', async (_name, late) => {
    const { id, serial } = await write('twice');
    await outbox.take(1);
    await hurry(operator, at(serial));
    await outbox.take(1);
    await late(id);
    expect(await row(serial)).toMatchObject({ status: 'sending', attempts: 2, message_id: null });
    await outbox.accepted({ id, attempts: 2 }, 'newer');
    expect(await row(serial)).toMatchObject({ status: 'sent', message_id: 'newer' });
  });

  test('delivered: it is', async () => {
    const { id, serial } = await write('twice');
    await outbox.take(1);
    await hurry(operator, at(serial));
    await outbox.take(1);
    await outbox.delivered(id);
    await outbox.failed({ id, attempts: 2 }, 'away', 0);
    expect(await row(serial)).toMatchObject({ status: 'delivered', text: null });
  });
});

describe('which text a receipt is about', () => {
  const PHONE = '41790000000';

  test.each([
    ['hexadecimal, told in decimal', '499602d2', '1234567890'],
    ['hexadecimal in capitals', '499602D2', '1234567890'],
    ['decimal, told in hexadecimal', '1234567890', '499602d2'],
    ['with zeros before it', '10', '0000000010'],
  ])('an id that is %s', async (_name, kept, told) => {
    const { id, serial } = await accepted(kept);
    expect(await delivered(told)).toBeUndefined();
    expect(await delivered(told, '41791111111')).toBeUndefined();
    expect(await delivered(told, PHONE)).toEqual({ id, serial });
  });

  test('of two that fit, the one of that number', async () => {
    const hex = await accepted('10');
    const other = await accepted('16');
    await set(other.id, "msisdn = '+41792222222'");
    expect(await delivered('16', PHONE)).toEqual(hex);
    expect(await delivered('16', PHONE)).toBeUndefined();
    expect(await row(other.serial)).toMatchObject({ status: 'sent' });
    expect(await delivered('16', '41792222222')).toEqual(other);
  });

  test.each([
    ['+41790000000', '0790000000', true],
    ['0790000000', '41790000000', true],
    ['12345', '4112345', true],
    ['12345', '4112346', false],
    ['+41790000000', '41790000001', false],
  ])('sent to %s, told of %s: %s', async (msisdn, told, is) => {
    const one = await accepted('77');
    await set(one.id, `msisdn = '${msisdn}'`);
    expect(await delivered('77', told)).toEqual(is ? one : undefined);
  });

  test('an id that is in one notation only is enough, whatever number is told', async () => {
    const one = await accepted('3f-9');
    expect(await delivered('3f-9', '41791111111')).toEqual(one);
  });

  test('an id that the SMSC gave twice: the text to that number', async () => {
    const [older, newer] = [await accepted('re-used'), await accepted('re-used')];
    await set(newer.id, "msisdn = '+41792222222'");
    expect(await delivered('re-used', PHONE)).toEqual(older);
    expect(await row(newer.serial)).toMatchObject({ status: 'sent' });
  });

  test('an id that the SMSC gave twice, and no number: the newer text only', async () => {
    const [older, newer] = [await accepted('again'), await accepted('again')];
    expect(await delivered('again')).toEqual(newer);
    expect(await row(older.serial)).toMatchObject({ status: 'sent' });
  });
});

describe('a receipt that comes before the answer to its text', () => {
  const told = { messageId: 'early', delivered: true, state: 'DELIVRD', phones: [] };

  test('is undecided until the answer is written, and then found', async () => {
    const { id, serial } = await write('early');
    await outbox.take(1);
    const { cameAt, ...first1 } = await outbox.receipt(told);
    expect(first1).toEqual({ text: undefined, undecided: true });
    await outbox.accepted(first(id), 'early');
    expect(await outbox.receipt(told, cameAt)).toMatchObject({ text: { id, serial } });
  });

  test('of somebody else is decided as soon as the texts are that were under way when it came', async () => {
    const under = await write('under way');
    await outbox.take(1);
    const { cameAt } = await outbox.receipt(told);
    await write('later');
    await outbox.take(1);
    expect(await outbox.receipt(told, cameAt)).toMatchObject({ undecided: true });
    await outbox.accepted(first(under.id), 'other');
    expect(await outbox.receipt(told, cameAt)).toEqual({ text: undefined, undecided: false, cameAt });
  });

  test('waits for no text to another number, nor for one that was left lying', async () => {
    const { serial } = await write('another');
    await outbox.take(1);
    const of = (messageId: string) => outbox.receipt({ ...told, messageId, phones: ['41791111111'] });
    expect(await of('123')).toMatchObject({ undecided: false });
    expect(await of('a-1')).toMatchObject({ undecided: true });
    await hurry(operator, at(serial));
    expect(await of('a-1')).toMatchObject({ undecided: false });
  });
});

test('not delivered again and again: later and later', async () => {
  const { id, serial } = await accepted('1st');
  await set(id, 'attempts = 4');
  await undelivered('1st');
  expect((await row(serial)).wait).toBeGreaterThan(240);
  await set(id, "status = 'sent', attempts = 100");
  await undelivered('1st');
  const { wait } = await row(serial);
  expect(wait).toBeGreaterThan(1_920);
  expect(wait).toBeLessThanOrEqual(3_840);
});

describe('tidying', () => {
  const OLD = "created_at = now() - interval '61 s'";

  test('gives up what waits too long, and says why; keeps the row', async () => {
    const [old, young] = [await write('old'), await write('young')];
    await outbox.take(1);
    await outbox.failed(first(old.id), 'HTTP status 500', 0);
    await set(old.id, OLD);
    expect(await outbox.tidy(60)).toEqual([{ ...old, why: 'given up: HTTP status 500' }]);
    expect(await row(old.serial)).toMatchObject({ status: 'failed', text: null });
    expect(await row(young.serial)).toMatchObject({ status: 'waiting' });
    expect(await outbox.tidy(60)).toEqual([]);
  });

  test('keeps no text of what the network took and never spoke of again', async () => {
    const { id, serial } = await write('sent');
    await outbox.take(1);
    await outbox.accepted(first(id), 'm');
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
