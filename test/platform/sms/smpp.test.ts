/** The link to an SMSC, on real sockets, with waits that are shortened. */
import { createServer, type AddressInfo, type Server } from 'node:net';
import { Smpp, type SmppOptions } from '../../../src/platform/sms/smpp';
import type { Receipt } from '../../../src/platform/sms/transport';
import { eventually } from '../../support/eventually';
import { Smsc } from '../../support/smsc';

/** For answers that never come; those that come are waited for. */
const QUICK = { answer: 3_000, enquire: 60_000, firstWait: 20, longestWait: 100 };
const PATIENT = { ...QUICK, answer: 60_000 };
const TEXT = { id: 1, serial: 'T-1', msisdn: '+41790000000', text: 'M2M2 C=1 U=_-aZ09 S=seal_-' };

let smsc: Smsc;
const open: Smpp[] = [];
const warnings: string[] = [];
const warned = (warning: Error) => void warnings.push(warning.message);

beforeAll(async () => {
  process.on('warning', warned);
  smsc = await Smsc.start();
});
beforeEach(() => {
  smsc.behave({ password: 'password', silent: [], refuse: 0 });
  smsc.seen.length = 1;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((link) => link.close()));
  expect(warnings).toEqual([]);
});
afterAll(async () => {
  process.off('warning', warned);
  await smsc.kill();
});

function dial(options: Partial<SmppOptions> = {}) {
  const told: string[] = [];
  const receipts: Receipt[] = [];
  const link = new Smpp({
    host: '127.0.0.1',
    port: smsc.port,
    user: 'm2m',
    password: 'password',
    onReceipt: (receipt) => Promise.resolve(receipts.push(receipt) > 0),
    onLink: (up, why) => void told.push(`${up ? 'up' : 'down'}: ${why}`),
    times: PATIENT,
    ...options,
  });
  open.push(link);
  const ready = () => eventually('the link', () => link.ready);
  const tells = (what: RegExp) => eventually(String(what), () => told.some((one) => what.test(one)));
  return { link, told, receipts, ready, tells };
}

test('binds as a transceiver of version 3.4, and unbinds', async () => {
  const { link, told, ready } = dial();
  await ready();
  expect(smsc.all('bind')).toEqual([
    { event: 'bind', system_id: 'm2m', password: 'password', interface_version: 0x34 },
  ]);
  await link.close();
  await smsc.saw('unbound');
  expect(told).toEqual(['up: bound']);
});

test('a text is the octets of the GSM alphabet under data_coding 0, with a receipt wanted', async () => {
  const { link, ready } = dial();
  await ready();
  const handed = await link.send(TEXT);
  const seen = await smsc.saw('submit');
  expect(handed).toEqual({ kind: 'accepted', messageId: seen['message_id'] });
  expect(seen).toMatchObject({
    destination_addr: '41790000000',
    dest_addr_ton: 1,
    data_coding: 0,
    registered_delivery: 1,
    text: TEXT.text,
    // 3GPP TS 23.038: the underscore is 0x11.
    octets: Buffer.from(TEXT.text.replaceAll('_', '\x11'), 'latin1').toString('hex'),
  });
  await link.send({ ...TEXT, msisdn: '0790000000' });
  await smsc.saw('submit', (one) => one['destination_addr'] === '0790000000' && one['dest_addr_ton'] === 0);
});

test('a windowful at once, and again, each with an id of its own', async () => {
  const { link, ready } = dial();
  await ready();
  for (let round = 0; round < 2; round++) {
    const handed = await Promise.all(Array.from({ length: 20 }, (_, id) => link.send({ ...TEXT, id })));
    expect(new Set(handed.map((one) => one.kind === 'accepted' && one.messageId)).size).toBe(20);
  }
});

test('refused: failed, with the status', async () => {
  const { link, ready } = dial();
  await ready();
  smsc.behave({ refuse: 0x0b });
  expect(await link.send(TEXT)).toEqual({ kind: 'failed', why: 'the SMSC refused: status 0x0000000b' });
});

test('not answered: failed after a while, and the link stands', async () => {
  const { link, ready } = dial({ times: QUICK });
  await ready();
  smsc.behave({ silent: ['submit_sm'] });
  expect(await link.send(TEXT)).toEqual({ kind: 'failed', why: 'the SMSC did not answer' });
  expect(link.ready).toBe(true);
});

test('enquires the link, and answers enquiries', async () => {
  const { ready } = dial({ times: { ...PATIENT, enquire: 50 } });
  await ready();
  smsc.order('enquire');
  await Promise.all([smsc.saw('enquired'), smsc.saw('enquiry-answered')]);
});

test('a link whose enquiry is not answered is given up for another', async () => {
  smsc.behave({ silent: ['enquire_link'] });
  const { ready, tells } = dial({ times: { ...QUICK, enquire: 50 } });
  await tells(/^down: no answer to enquire_link$/);
  await ready();
});

test('receipts are answered and told; texts from telephones are answered only', async () => {
  const { receipts, ready } = dial();
  await ready();
  smsc.deliver({ esm_class: 4, receipted_message_id: 'a', message_state: 2, short_message: '' });
  smsc.deliver({ esm_class: 4, short_message: 'id:b stat:UNDELIV err:001' });
  smsc.deliver({ esm_class: 0, short_message: 'id:c stat:DELIVRD' });
  await eventually('three answers', () => smsc.all('deliver-answered').length === 3);
  expect(smsc.all('deliver-answered').every((one) => one['command_status'] === 0)).toBe(true);
  expect(receipts).toEqual([
    { messageId: 'a', phones: [], delivered: true, state: 'state 2' },
    { messageId: 'b', phones: [], delivered: false, state: 'UNDELIV' },
  ]);
});

test.each([
  ['hangUp', /^down: (connection closed|ECONNRESET)$/],
  ['unbind', /^down: the SMSC unbound$/],
  ['garbage', /^down: protocol error$/],
] as const)('%s ends the session, fails what was under way, and a new one is bound', async (order, why) => {
  const { link, ready, tells } = dial();
  await ready();
  smsc.behave({ silent: ['submit_sm'] });
  const sent = link.send(TEXT);
  await smsc.saw('submit');
  smsc.order(order);
  await tells(why);
  expect(await sent).toEqual({ kind: 'failed', why: 'the SMSC did not answer' });
  await ready();
});

test('a wrong password: told once, tried again until it is taken', async () => {
  smsc.behave({ password: 'other' });
  const { told, ready } = dial();
  await smsc.saw('bind', () => smsc.all('bind').length >= 3);
  expect(told).toEqual(['down: bind refused: status 0x0000000d']);
  smsc.behave({ password: 'password' });
  await ready();
  expect(told.join()).not.toContain('password');
});

test('no answer to the bind: tried again until there is one', async () => {
  smsc.behave({ silent: ['bind_transceiver'] });
  const { ready, tells } = dial({ times: QUICK });
  await tells(/^down: no answer to bind$/);
  smsc.behave({ silent: [] });
  await ready();
});

describe('a peer that is no SMSC', () => {
  let peer: Server;
  afterEach(() => new Promise((resolve) => peer.close(resolve)));

  test('nobody there, later somebody who says nothing: no texts, no throw, and closed at once', async () => {
    peer = createServer();
    await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
    const { port } = peer.address() as AddressInfo;
    await new Promise((resolve) => peer.close(resolve));
    const { link, tells } = dial({ port, times: QUICK });
    await tells(/^down: ECONNREFUSED$/);
    peer.on('connection', (socket) => socket.on('error', () => undefined).resume());
    await new Promise<void>((resolve) => peer.listen(port, '127.0.0.1', resolve));
    await tells(/^down: no answer to bind$/);
    expect(link.ready).toBe(false);
    expect(await link.send(TEXT)).toMatchObject({ kind: 'failed' });
    await link.close();
  });
});
