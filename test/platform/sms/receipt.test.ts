import fc from 'fast-check';
import { endings, readReceipt, spellings, type Delivery } from '../../../src/platform/sms/receipt';

const RECEIPT = 0x04;

const deliver = (fields: Partial<Delivery>, text = ''): Delivery => ({
  esmClass: RECEIPT,
  source: '',
  destination: '',
  dataCoding: 0,
  octets: Buffer.from(text, 'latin1'),
  ...fields,
});

const APPENDIX_B =
  'id:0123456789 sub:001 dlvrd:001 submit date:2611220501 done date:2611220502 stat:DELIVRD err:000 text:M2M2 C=1';

test('as appendix B writes it', () => {
  expect(readReceipt(deliver({}, APPENDIX_B))).toEqual({
    messageId: '0123456789',
    phones: [],
    delivered: true,
    state: 'DELIVRD',
  });
  expect(readReceipt(deliver({}, 'ID:ab-1 STAT:undeliv'))).toEqual({
    messageId: 'ab-1',
    phones: [],
    delivered: false,
    state: 'UNDELIV',
  });
});

test.each(['EXPIRED', 'DELETED', 'UNDELIV', 'UNKNOWN', 'REJECTD'])('%s: not delivered', (state) => {
  expect(readReceipt(deliver({}, `id:1 stat:${state}`))).toMatchObject({
    messageId: '1',
    delivered: false,
    state,
  });
});

test.each(['ACCEPTD', 'ENROUTE', 'BUFFRED', 'SCHEDULED'])('%s is no end yet', (state) => {
  expect(readReceipt(deliver({}, `id:1 stat:${state}`))).toBeUndefined();
});

test('as TLVs, which come before the text', () => {
  const tlvs = { receiptedId: 'tlv', state: 2 };
  expect(readReceipt(deliver(tlvs))).toMatchObject({ messageId: 'tlv', delivered: true, state: 'state 2' });
  expect(readReceipt(deliver(tlvs, 'id:text stat:UNDELIV'))).toMatchObject({
    messageId: 'tlv',
    delivered: true,
  });
  expect(readReceipt(deliver({ ...tlvs, state: 5 }))).toMatchObject({ delivered: false });
});

test.each([0, 1, 6])('state %d is no end yet', (state) => {
  expect(readReceipt(deliver({ receiptedId: '1', state }))).toBeUndefined();
});

test.each([
  ['a text from a telephone', deliver({ esmClass: 0 }, APPENDIX_B)],
  ['an acknowledgement by the device', deliver({ esmClass: 0x08 }, APPENDIX_B)],
  ['one without an id', deliver({}, 'stat:DELIVRD')],
  ['one with an empty id', deliver({ receiptedId: '', state: 2 })],
  ['one with a NUL in its id', deliver({ receiptedId: 'a\0b', state: 2 })],
  ['one with a NUL in the id of its text', deliver({}, 'id:a\0b stat:DELIVRD')],
  ['one without a state', deliver({}, 'id:1')],
  ['nothing at all', deliver({})],
])('%s is no receipt', (_name, pdu) => {
  expect(readReceipt(pdu)).toBeUndefined();
});

test('an empty TLV leaves the word to the text', () => {
  expect(readReceipt(deliver({ receiptedId: '' }, 'id:7 stat:DELIVRD'))).toMatchObject({
    messageId: '7',
  });
});

test('a word written out is the same', () => {
  expect(readReceipt(deliver({}, 'id:7 stat:DELIVERED'))).toMatchObject({ delivered: true });
});

test.each([
  ['41790000000', '', ['41790000000']],
  ['+41790000000', '12345', ['41790000000']],
  ['41790000000', '41780000000', ['41790000000', '41780000000']],
  ['', '41790000000', []],
  ['4179***0000', '41790000000', []],
  ['12345', '41790000000', []],
])('from %s to %s: it went to one of %j', (source, destination, phones) => {
  expect(readReceipt(deliver({ source, destination }, 'id:7 stat:DELIVRD'))).toMatchObject({ phones });
});

describe('spellings of an id', () => {
  test.each([
    ['1234567890', '499602d2'],
    ['1234567890', '499602D2'],
    ['499602d2', '1234567890'],
    ['0X499602D2', '1234567890'],
    ['10', '0000000010'],
    ['0000000010', '10'],
    ['255', '000000FF'],
    ['0000ff', '255'],
    ['18446744073709551615', 'ffffffffffffffff'],
  ])('%s may be %s', (id, other) => {
    expect(spellings(id)[0]).toBe(id);
    expect(spellings(id)).toContain(other);
  });

  test.each(['3f2a-1', 'id_7', 'x1', '0x', '', 'f'.repeat(40)])('%s is only itself', (id) => {
    expect(spellings(id)).toEqual([id]);
  });
});

test('numbers are compared by their last seven digits, or all of a shorter one', () => {
  expect(endings(['0791234567']).sort()).toEqual(['1234567', '234567', '34567']);
  const digits = (least: number, most: number) =>
    fc.string({ unit: fc.constantFrom('0', '1'), minLength: least, maxLength: most });
  fc.assert(
    fc.property(digits(7, 20), digits(5, 15), fc.boolean(), (phone, other, same) => {
      const known = same ? phone.slice(-Math.max(5, other.length)) : other;
      const counted = Math.min(7, known.length);
      expect(endings([phone]).includes(known.slice(-7))).toBe(phone.slice(-counted) === known.slice(-7));
    }),
  );
});
