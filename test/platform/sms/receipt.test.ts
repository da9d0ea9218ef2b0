import type { PDU } from 'smpp';
import { readReceipt } from '../../../src/platform/sms/smpp';

const RECEIPT = 0x04;

const deliver = (fields: Partial<PDU>, text?: string | Buffer): PDU => ({
  command: 'deliver_sm',
  command_status: 0,
  esm_class: RECEIPT,
  ...(text !== undefined && { short_message: { message: text } }),
  response: () => deliver({}),
  ...fields,
});

const APPENDIX_B =
  'id:0123456789 sub:001 dlvrd:001 submit date:2611220501 done date:2611220502 stat:DELIVRD err:000 text:M2M2 C=1';

test('as appendix B writes it', () => {
  expect(readReceipt(deliver({}, APPENDIX_B))).toEqual({
    messageId: '0123456789',
    delivered: true,
    state: 'DELIVRD',
  });
  expect(readReceipt(deliver({}, Buffer.from('ID:ab-1 STAT:undeliv')))).toEqual({
    messageId: 'ab-1',
    delivered: false,
    state: 'UNDELIV',
  });
});

test.each(['EXPIRED', 'DELETED', 'UNDELIV', 'UNKNOWN', 'REJECTD'])('%s: not delivered', (state) => {
  expect(readReceipt(deliver({}, `id:1 stat:${state}`))).toEqual({ messageId: '1', delivered: false, state });
});

test.each(['ACCEPTD', 'ENROUTE', 'BUFFRED'])('%s is no end yet', (state) => {
  expect(readReceipt(deliver({}, `id:1 stat:${state}`))).toBeUndefined();
});

test('as TLVs, which come before the text', () => {
  const tlvs = { receipted_message_id: 'tlv', message_state: 2 };
  expect(readReceipt(deliver(tlvs))).toEqual({ messageId: 'tlv', delivered: true, state: 'state 2' });
  expect(readReceipt(deliver(tlvs, 'id:text stat:UNDELIV'))).toMatchObject({
    messageId: 'tlv',
    delivered: true,
  });
  expect(readReceipt(deliver({ ...tlvs, message_state: 5 }))).toMatchObject({ delivered: false });
});

test.each([0, 1, 6])('state %d is no end yet', (message_state) => {
  expect(readReceipt(deliver({ receipted_message_id: '1', message_state }))).toBeUndefined();
});

test.each([
  ['a text from a telephone', deliver({ esm_class: 0 }, APPENDIX_B)],
  ['an acknowledgement by the device', deliver({ esm_class: 0x08 }, APPENDIX_B)],
  ['one without an id', deliver({}, 'stat:DELIVRD')],
  ['one with an empty id', deliver({ receipted_message_id: '', message_state: 2 })],
  ['one with a NUL in its id', deliver({ receipted_message_id: 'a\0b', message_state: 2 })],
  ['one with a NUL in the id of its text', deliver({}, 'id:a\0b stat:DELIVRD')],
  ['one without a state', deliver({}, 'id:1')],
  ['nothing at all', deliver({})],
])('%s is no receipt', (_name, pdu) => {
  expect(readReceipt(pdu)).toBeUndefined();
});

test('an empty TLV leaves the word to the text', () => {
  expect(readReceipt(deliver({ receipted_message_id: '' }, 'id:7 stat:DELIVRD'))).toMatchObject({
    messageId: '7',
  });
});
