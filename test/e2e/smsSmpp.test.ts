/** New secrets by SMS through an SMSC, against the real gateway; the SMSC is another process, too. */
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { credentialConfirm, login, RESULT, SUITE, type Terminal } from '../support/oracle';
import { Smsc, type Seen } from '../support/smsc';
import { RawTerminal } from '../support/socket';
import { askByText, hurry, outboxRow, provisionSealedPhone, readText } from '../support/texts';

const UPLINK = 1;
const PASSWORD = 'p@ss:w/d';

let database: TestDatabase;
let home: TestHome;
let smsc: Smsc;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  [database, smsc] = await Promise.all([createDatabase(), Smsc.start()]);
  smsc.behave({ password: PASSWORD });
  home = testHome();
  const address = `smpp://gateway:${encodeURIComponent(PASSWORD)}@127.0.0.1:${smsc.port}`;
  gateway = await startGateway({ databaseUrl: database.url, home, environment: { M2M_SMS: address } });
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await smsc?.kill();
  await database?.drop();
  home?.remove();
});

/** A terminal that has asked for a new uplink password by SMS. */
async function asked() {
  const { terminal, phone } = await provisionSealedPhone(operator);
  const socket = await RawTerminal.open(gateway);
  expect((await socket.ask(login(terminal, { sequence: 1 }))).result).toBe(RESULT.OK);
  await askByText(socket, terminal, { targets: UPLINK, sequence: 2 });
  const to = (one: Seen) => `+${String(one['destination_addr'])}` === phone;
  return { terminal, socket, to };
}

const became = (terminal: Terminal, status: string, least = 1) =>
  outboxRow(operator, terminal, status, (row) => row.status === status && row.attempts >= least);

const receipt = (messageId: unknown, stat: string) => ({
  esm_class: 0x04,
  short_message: `id:${String(messageId)} sub:001 dlvrd:001 submit date:2611220501 done date:2611220502 stat:${stat} err:000`,
});

const linkLine = (from: number, detail: RegExp) =>
  gateway.logged(
    (line) =>
      gateway.log.indexOf(line) >= from &&
      line['event.action'] === 'sms-link' &&
      detail.test(String(line['m2m.detail'])),
  );

test('bound, sent, receipted, confirmed', async () => {
  expect(await smsc.saw('bind')).toMatchObject({
    system_id: 'gateway',
    password: PASSWORD,
    interface_version: 0x34,
  });
  expect(await linkLine(0, /^bound$/)).toMatchObject({ 'event.outcome': 'success' });
  const { terminal, socket, to } = await asked();
  const { message_id } = await became(terminal, 'sent');
  const seen = await smsc.saw('submit', (one) => to(one) && one['message_id'] === message_id);
  expect(seen).toMatchObject({ data_coding: 0, registered_delivery: 1, dest_addr_ton: 1 });
  smsc.deliver(receipt(seen['message_id'], 'DELIVRD'));
  expect(await became(terminal, 'delivered')).toMatchObject({ text: null });
  await smsc.saw('deliver-answered', (one) => one['command_status'] === 0);

  const { id, changed } = readText(seen['text'] as string, terminal, SUITE.HMAC);
  expect((await socket.ask(credentialConfirm(id)(changed, { sequence: 3 }))).result).toBe(RESULT.OK);
  socket.close();
});

test('a receipt as TLVs, right behind the answer', async () => {
  const { terminal, to } = await asked();
  const { message_id } = await smsc.saw('submit', to);
  smsc.deliver({ esm_class: 0x04, receipted_message_id: message_id, message_state: 2, short_message: '' });
  await became(terminal, 'delivered');
});

test('UNDELIV: it goes out again', async () => {
  const { terminal, to } = await asked();
  const first = await smsc.saw('submit', to);
  await became(terminal, 'sent');
  smsc.deliver(receipt(first['message_id'], 'UNDELIV'));
  expect((await became(terminal, 'waiting')).last_error).toBe('not delivered: UNDELIV');
  await hurry(operator, terminal);
  const second = await smsc.saw('submit', (one) => to(one) && one !== first);
  expect(second['text']).toBe(first['text']);
  await became(terminal, 'sent', 2);
});

test('refused as throttled: tried again', async () => {
  smsc.behave({ refuse: 0x58 });
  const { terminal } = await asked();
  const refused = 'the SMSC refused: status 0x00000058';
  await outboxRow(operator, terminal, 'refused', (row) => row.last_error === refused);
  smsc.behave({ refuse: 0 });
  await hurry(operator, terminal);
  await became(terminal, 'sent', 2);
});

test('enquire_link of the SMSC is answered', async () => {
  smsc.order('enquire');
  await smsc.saw('enquiry-answered');
});

test('killed, and started again with another password, then with the right one', async () => {
  const before = gateway.log.length;
  const { port } = smsc;
  await smsc.kill();
  expect(await linkLine(before, /./)).toMatchObject({ 'event.outcome': 'failure', 'log.level': 'warn' });
  const { terminal, to } = await asked();
  smsc = await Smsc.start(port);
  expect(await linkLine(before, /^bind refused: status 0x0000000d$/)).toMatchObject({
    'event.outcome': 'failure',
    'log.level': 'warn',
  });
  smsc.behave({ password: PASSWORD });
  await smsc.saw('submit', to);
  await became(terminal, 'sent');
  expect(await linkLine(before, /^bound$/)).toMatchObject({ 'event.outcome': 'success' });
  const logged = JSON.stringify(gateway.log) + gateway.stderr();
  for (const { text, destination_addr } of smsc.all('submit')) {
    expect(logged).not.toContain(text);
    expect(logged).not.toContain(destination_addr);
  }
  for (const written of [PASSWORD, encodeURIComponent(PASSWORD)]) expect(logged).not.toContain(written);
  expect(gateway.stderr()).not.toMatch(/warning|error/i);
});

test('ends with an unbind', async () => {
  expect(await gateway.stop()).toBe(0);
  await smsc.saw('unbound');
});
