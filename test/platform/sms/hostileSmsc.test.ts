/** What an SMSC may do by mistake or malice, byte by byte, and what it costs: never more than what it is about. */
import { Smpp, type SmppTimes } from '../../../src/platform/sms/smpp';
import type { Receipt } from '../../../src/platform/sms/transport';
import { eventually } from '../../support/eventually';
import {
  DELIVER_SM,
  deliverBody,
  ENQUIRE_LINK,
  GENERIC_NACK,
  rawPdu,
  RawSmsc,
  RESPONSE,
  SUBMIT_SM,
  tlv,
} from '../../support/rawSmsc';

const PATIENT = { answer: 120_000, enquire: 120_000, firstWait: 20, longestWait: 100 };
const TEXT = { id: 1, serial: 'T-1', msisdn: '+41790000000', text: 'M2M2 C=1 U=x S=y' };
const UNBIND = 6;
const DATA_SM = 0x103;
const TEMPORARY = 0x64;
const PERMANENT = 0x65;

let smsc: RawSmsc;
let link: Smpp;
let receipts: Receipt[];
let told: string[];
let takeReceipt: (receipt: Receipt) => Promise<boolean>;

async function dial(times: SmppTimes = PATIENT): Promise<void> {
  receipts = [];
  told = [];
  takeReceipt = () => Promise.resolve(true);
  link = new Smpp({
    host: '127.0.0.1',
    port: smsc.port,
    user: 'm2m',
    password: 'password',
    onReceipt: (receipt) => {
      receipts.push(receipt);
      return takeReceipt(receipt);
    },
    onLink: (up, why) => void told.push(`${up ? 'up' : 'down'}: ${why}`),
    times,
  });
  await eventually('the link', () => link.ready);
}

beforeEach(async () => {
  smsc = await RawSmsc.start();
  await dial();
});
afterEach(async () => {
  const closed = link.close();
  await smsc.stop();
  await closed;
});

const RECEIPT = deliverBody({ text: 'id:7 stat:DELIVRD' });
const receiptOf = (id: string) => deliverBody({ text: `id:${id} stat:DELIVRD` });
/** The link goes on where it was. */
const stands = () => expect([told, smsc.binds, link.ready]).toEqual([['up: bound'], 1, true]);

describe('what is delivered', () => {
  test('is answered when it is dealt with, and not before, while the link goes on', async () => {
    let done: (is: boolean) => void = () => undefined;
    takeReceipt = () => new Promise((resolve) => (done = resolve));
    smsc.send(rawPdu(DELIVER_SM, 70, RECEIPT), rawPdu(ENQUIRE_LINK, 71));
    await smsc.answer(71);
    expect(smsc.of(DELIVER_SM + RESPONSE)).toEqual([]);
    done(true);
    expect(await smsc.answer(70)).toMatchObject({ command: DELIVER_SM + RESPONSE, status: 0 });
    expect((await smsc.answer(70)).body).toEqual(Buffer.of(0));
    stands();
  });

  test('is refused for now where it cannot be dealt with', async () => {
    takeReceipt = () => Promise.resolve(false);
    smsc.send(rawPdu(DELIVER_SM, 5, RECEIPT));
    expect(await smsc.answer(5)).toMatchObject({ status: TEMPORARY });
    stands();
  });

  test('is answered on the connection that it came by, or not at all', async () => {
    let done: (is: boolean) => void = () => undefined;
    takeReceipt = () => new Promise((resolve) => (done = resolve));
    smsc.send(rawPdu(DELIVER_SM, 70, RECEIPT));
    await eventually('the receipt', () => receipts.length === 1);
    smsc.socket.destroy();
    await eventually('another link', () => smsc.binds === 2 && link.ready);
    done(true);
    smsc.send(rawPdu(ENQUIRE_LINK, 71));
    await smsc.answer(71);
    expect(smsc.of(DELIVER_SM + RESPONSE)).toEqual([]);
  });

  test.each([
    ['in message_payload', deliverBody({ tlvs: tlv(0x424, 'id:p stat:UNDELIV') }), 'p'],
    [
      'behind a header of its own',
      deliverBody({ esmClass: 0x44, text: '\x05\0\x03\x01\x01\x01id:u stat:X' }),
      'u',
    ],
    ['in UCS-2', deliverBody({ coding: 8, text: '\0i\0d\0:\0w\0 \0s\0t\0a\0t\0:\0X' }), 'w'],
    ['in the GSM alphabet', deliverBody({ text: 'id:a\x11b stat:X' }), 'a_b'],
    ['in ASCII that claims to be GSM', deliverBody({ text: 'id:a_b stat:X' }), 'a_b'],
    ['a TLV without its NUL', deliverBody({ tlvs: tlv(0x1e, 'n') + tlv(0x427, '\x05') }), 'n'],
    [
      'a state of no octet before a 2, which is no state',
      deliverBody({ text: 'id:s stat:X', tlvs: tlv(0x427, '') + tlv(0x204, 'ab') }),
      's',
    ],
    ['an id in GUID style', deliverBody({ coding: 1, text: 'id:{a@b}~$ stat:X' }), '{a@b}~$'],
    ['TLVs of a vendor', deliverBody({ text: 'id:v stat:X', tlvs: tlv(0x1401, 'x'.repeat(5_000)) }), 'v'],
    ['64 KiB', deliverBody({ tlvs: tlv(0x424, `id:k stat:X ${'x'.repeat(65_000)}`) }), 'k'],
  ])('is read all the same: %s', async (_name, body, messageId) => {
    smsc.send(rawPdu(DELIVER_SM, 9, body));
    expect(await smsc.answer(9)).toMatchObject({ status: 0 });
    expect(receipts).toMatchObject([{ messageId, delivered: false }]);
    stands();
  });

  test('is read from data_sm as well', async () => {
    const fields = '\0\x01\x01' + TEXT.msisdn.slice(1) + '\0\x01\x01\0\x04\0\0';
    smsc.send(rawPdu(DATA_SM, 9, fields + tlv(0x1e, 'd\0') + tlv(0x427, '\x02')));
    expect(await smsc.answer(9)).toMatchObject({ command: DATA_SM + RESPONSE, status: 0 });
    expect(receipts).toEqual([
      { messageId: 'd', delivered: true, state: 'state 2', phones: ['41790000000'] },
    ]);
  });

  test.each([
    ['nothing', ''],
    ['no end', 'x'.repeat(2_000)],
    ['a text that is longer than the PDU', RECEIPT.slice(0, -1)],
    ['a TLV too short for its kind', deliverBody({ text: 'id:s stat:X', tlvs: tlv(0x204, '') })],
    ['an id that is longer than the PDU', deliverBody({ text: 'id:l stat:X', tlvs: tlv(0x1e, 'a', 9_000) })],
    ['a time that is none', deliverBody({ text: 'id:t stat:X', validity: 'R' })],
  ])('costs itself alone where it cannot be decoded: %s', async (_name, body) => {
    smsc.send(rawPdu(DELIVER_SM, 9, body), rawPdu(DATA_SM, 10, body.slice(0, 3)));
    smsc.send(rawPdu(DELIVER_SM, 11, RECEIPT));
    expect(await smsc.answer(9)).toMatchObject({ command: DELIVER_SM + RESPONSE, status: PERMANENT });
    expect(await smsc.answer(10)).toMatchObject({ command: DATA_SM + RESPONSE, status: PERMANENT });
    expect(await smsc.answer(11)).toMatchObject({ status: 0 });
    expect(receipts).toMatchObject([{ messageId: '7', delivered: true }]);
    stands();
  });

  test('and a text from a telephone is taken and dropped', async () => {
    smsc.send(rawPdu(DELIVER_SM, 9, deliverBody({ esmClass: 0, text: 'id:7 stat:DELIVRD' })));
    expect(await smsc.answer(9)).toMatchObject({ status: 0 });
    expect(receipts).toEqual([]);
  });
});

describe('the stream', () => {
  const stream = Buffer.concat([1, 2, 3].map((id) => rawPdu(DELIVER_SM, id, receiptOf(`r${id}`))));

  test('byte by byte', async () => {
    smsc.socket.setNoDelay(true);
    for (const byte of stream) {
      smsc.send(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    await smsc.got(DELIVER_SM + RESPONSE, 3);
    expect(receipts.map(({ messageId }) => messageId)).toEqual(['r1', 'r2', 'r3']);
    stands();
  });

  test('many in one piece, the last one in two', async () => {
    const many = Array.from({ length: 500 }, (_, i) => rawPdu(DELIVER_SM, i + 1, receiptOf(`r${i}`)));
    const all = Buffer.concat([...many, stream.subarray(0, 20)]);
    smsc.send(all);
    await smsc.answer(500);
    smsc.send(stream.subarray(20));
    await eventually('all of them', () => receipts.length === 503);
    stands();
  });

  test.each([0, 1, 4, 15, 70_001, 0xffff_ffff])(
    'a length of %d ends it, and another is begun',
    async (length) => {
      const bytes = rawPdu(ENQUIRE_LINK, 1);
      bytes.writeUInt32BE(length, 0);
      smsc.send(bytes);
      await eventually('another link', () => smsc.binds === 2 && link.ready);
      expect(told).toEqual(['up: bound', 'down: protocol error', 'up: bound']);
    },
  );

  test('commands that nobody knows, or that are not for us, are refused by name', async () => {
    smsc.send(rawPdu(0x0abc, 3, 'abc'), rawPdu(SUBMIT_SM, 4, 'abc'), rawPdu(0x0b, 5), rawPdu(0x102, 6));
    smsc.send(rawPdu(ENQUIRE_LINK, 7));
    await smsc.answer(7);
    const nacks = smsc.of(GENERIC_NACK).map(({ sequence, status }) => [sequence, status]);
    expect(nacks).toEqual([
      [3, 3],
      [4, 3],
    ]);
    stands();
  });

  test('unbind is answered before the connection ends', async () => {
    smsc.send(rawPdu(UNBIND, 8));
    expect(await smsc.answer(8)).toMatchObject({ command: UNBIND + RESPONSE, status: 0 });
    await eventually('another link', () => smsc.binds === 2 && link.ready);
  });

  test('a peer that asks and asks and never reads is left', async () => {
    smsc.socket.pause();
    const flood = Buffer.concat(Array.from({ length: 4_000 }, (_, i) => rawPdu(ENQUIRE_LINK, i + 1)));
    const flooding = setInterval(() => smsc.socket.writable && smsc.socket.write(flood), 1);
    const flooded = smsc.socket;
    await eventually('the end of it', () => told.includes('down: the SMSC does not read'));
    clearInterval(flooding);
    flooded.destroy();
  });
});

describe('answers to a text', () => {
  const ids = (answers: readonly { readonly sequence: number }[]) => answers.map(({ sequence }) => sequence);
  const answerTo = (sequence: number, id: string, status = 0) =>
    rawPdu(SUBMIT_SM + RESPONSE, sequence, status === 0 ? `${id}\0` : '', status);

  async function submitted(count = 1) {
    const sent = Array.from({ length: count }, () => link.send(TEXT));
    return { sent, sequences: ids(await smsc.got(SUBMIT_SM, count)) };
  }

  test('in any order go to their own text', async () => {
    const { sent, sequences } = await submitted(5);
    smsc.send(...sequences.toReversed().map((one) => answerTo(one, `id-${one}`)));
    expect(await Promise.all(sent)).toEqual(
      sequences.map((one) => ({ kind: 'accepted', messageId: `id-${one}` })),
    );
  });

  test("under a number that was not asked, to something else, or twice are nobody's", async () => {
    const { sent, sequences } = await submitted();
    const [sequence] = sequences as [number];
    smsc.send(answerTo(sequence + 1_000, 'other'), rawPdu(ENQUIRE_LINK + RESPONSE, sequence));
    smsc.send(answerTo(sequence, 'right'), answerTo(sequence, 'again'));
    expect(await sent[0]).toEqual({ kind: 'accepted', messageId: 'right' });
    stands();
  });

  test.each([
    ['none', ''],
    ['one with a control character', 'a\x01b\0'],
    ['one of 300 octets', `${'a'.repeat(300)}\0`],
    ['one before what cannot be decoded', `id\0${tlv(0x204, '')}`],
  ])('whose id cannot be kept (%s): taken, and no receipt will be its own', async (_name, body) => {
    const { sent, sequences } = await submitted();
    smsc.send(rawPdu(SUBMIT_SM + RESPONSE, sequences[0]!, body));
    expect(await sent[0]).toEqual({ kind: 'accepted', messageId: '' });
  });

  test.each([0x58, 0x14])('%d: too many for now, with a pause', async (status) => {
    const { sent, sequences } = await submitted();
    smsc.send(answerTo(sequences[0]!, '', status));
    expect(await sent[0]).toMatchObject({ kind: 'failed', pause: 1 });
  });

  test('a refusal that cannot be decoded is one', async () => {
    const { sent, sequences } = await submitted();
    smsc.send(rawPdu(SUBMIT_SM + RESPONSE, sequences[0]!, `id\0${tlv(0x204, '')}`, 8));
    expect(await sent[0]).toEqual({ kind: 'failed', why: 'the SMSC refused: status 0x00000008' });
  });

  test('to a bind and an enquiry count by their headers', async () => {
    await link.close();
    smsc.bindBody = `smsc\0${tlv(0x210, '')}`;
    await dial({ ...PATIENT, enquire: 50 });
    const [enquiry] = await smsc.got(ENQUIRE_LINK);
    smsc.send(rawPdu(ENQUIRE_LINK + RESPONSE, enquiry!.sequence, tlv(0x204, '')));
    smsc.send(rawPdu(ENQUIRE_LINK, 99, tlv(0x204, '')));
    expect(await smsc.answer(99)).toMatchObject({ command: ENQUIRE_LINK + RESPONSE, status: 0 });
    expect(told).toEqual(['up: bound']);
  });

  test('generic_nack: refused', async () => {
    const { sent, sequences } = await submitted();
    smsc.send(rawPdu(GENERIC_NACK, sequences[0]!, '', 2));
    expect(await sent[0]).toEqual({ kind: 'failed', why: 'the SMSC refused: status 0x00000002' });
  });

  test('too late: failed, and of nothing afterwards', async () => {
    await link.close();
    await dial({ ...PATIENT, answer: 2_000 });
    const { sent, sequences } = await submitted();
    expect(await sent[0]).toMatchObject({ kind: 'failed' });
    smsc.send(answerTo(sequences.at(-1)!, 'late'), rawPdu(ENQUIRE_LINK, 99));
    await smsc.answer(99);
    expect(link.ready).toBe(true);
  });
});

test('one that binds only to hang up is not called every moment', async () => {
  await link.close();
  await dial({ ...PATIENT, firstWait: 20, longestWait: 3_600_000 });
  const waits: number[] = [];
  const setTimer = jest.spyOn(globalThis, 'setTimeout');
  for (let round = 1; round <= 5; round++) {
    smsc.socket.destroy();
    await eventually('another link', () => told.filter((one) => one === 'up: bound').length === round + 1);
  }
  for (const [, ms] of setTimer.mock.calls) if (ms !== undefined && ms !== 20 && ms < 1_000) waits.push(ms);
  setTimer.mockRestore();
  expect(Math.max(...waits)).toBeGreaterThanOrEqual(160);
});
