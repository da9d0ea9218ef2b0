/** Texts and receipts where something is away, killed or twice; the SMSC and the gateways are processes of their own. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { login, RESULT } from '../support/oracle';
import { Smsc, type Seen } from '../support/smsc';
import { RawTerminal } from '../support/socket';
import { askByText, hurry, outboxOf, outboxRow, provisionSealedPhone } from '../support/texts';
import { Wire } from '../support/wire';

const UPLINK = 1;
const TEMPORARY = 0x64;
const TOLD_DELIVERED = 'DELIVRD';

let deployment: Deployment;
let operator: Operator;
let smsc: Smsc;
let wire: Wire;
let gateway: GatewayProcess;

beforeEach(async () => {
  [deployment, smsc] = await Promise.all([Deployment.open(), Smsc.start()]);
  ({ operator } = deployment);
  wire = await Wire.to(deployment.database.url);
});

afterEach(async () => {
  wire?.heal();
  await smsc?.kill();
  await deployment?.close();
  await wire?.close();
});

const start = (environment: Record<string, string> = {}) =>
  deployment.start({ M2M_SMS: `smpp://m2m:password@127.0.0.1:${smsc.port}`, ...environment });

/** A terminal that has asked for a new uplink password by SMS. */
async function asked(at = gateway) {
  const { terminal, phone } = await provisionSealedPhone(operator);
  const socket = await RawTerminal.open(at);
  expect((await socket.ask(login(terminal, { sequence: 1 }))).result).toBe(RESULT.OK);
  await askByText(socket, terminal, { targets: UPLINK, sequence: 2 });
  socket.close();
  const to = (one: Seen) => `+${String(one['destination_addr'])}` === phone;
  return { terminal, phone, to };
}

const became = (terminal: { serial: string }, status: string, least = 1) =>
  outboxRow(operator, terminal, status, (row) => row.status === status && row.attempts >= least);

/** @returns the status of the first answer */
async function deliver(messageId: unknown, stat = TOLD_DELIVERED): Promise<unknown> {
  const before = smsc.all('deliver-answered').length;
  smsc.deliver({ esm_class: 4, short_message: `id:${String(messageId)} stat:${stat} err:000` });
  const answers = await eventually('an answer', () => {
    const all = smsc.all('deliver-answered');
    return all.length > before && all;
  });
  return answers[before]!['command_status'];
}

function loseDatabase(): void {
  wire.refuse();
  wire.cut();
}

test.each([
  ['is away', loseDatabase],
  ['says nothing', () => wire.silence()],
])('while the database %s a receipt is refused for now, and nothing is lost', async (_name, harm) => {
  gateway = await start({ DATABASE_URL: wire.through });
  const { terminal } = await asked();
  const { message_id } = await became(terminal, 'sent');
  harm();
  expect(await deliver(message_id)).toBe(TEMPORARY);
  expect(await became(terminal, 'sent')).toMatchObject({ text: expect.any(Buffer) as Buffer });
  wire.heal();
  // As an SMSC does it: until it is told that it is done.
  await eventually('the receipt', async () => (await deliver(message_id)) === 0);
  expect(await became(terminal, 'delivered')).toMatchObject({ text: null });
});

test('killed between sending and noting: sent twice, and delivered by the receipt of the second one only', async () => {
  smsc.behave({ silent: ['submit_sm'] });
  gateway = await start();
  const { terminal, to } = await asked();
  const first = await smsc.saw('submit', to);
  await gateway.kill();
  smsc.behave({ silent: [] });
  expect(await outboxOf(operator, terminal)).toMatchObject([{ status: 'sending' }]);
  await hurry(operator, terminal);
  gateway = await start();
  const second = await smsc.saw('submit', (one) => to(one) && one !== first);
  expect(second['text']).toBe(first['text']);
  await became(terminal, 'sent', 2);
  expect(await deliver(first['message_id'])).toBe(0);
  expect(await became(terminal, 'sent')).toMatchObject({ message_id: second['message_id'] });
  expect(await deliver(second['message_id'])).toBe(0);
  await became(terminal, 'delivered');
});

test('two gateways, one with workers: each text once, whoever is told of it', async () => {
  gateway = await start();
  const other = await start({ M2M_WORKERS: '2', M2M_GATEWAY_ID: 'other' });
  await eventually('both links', () => smsc.all('bind').length === 2);
  const texts = await Promise.all(Array.from({ length: 12 }, (_, i) => asked(i % 2 === 0 ? gateway : other)));
  for (const { terminal, to } of texts) {
    const { message_id, attempts } = await became(terminal, 'sent');
    expect([attempts, smsc.all('submit').filter(to).length]).toEqual([1, 1]);
    // On every session, so both gateways are told.
    expect(await deliver(message_id)).toBe(0);
    await became(terminal, 'delivered');
  }
  const told = [...gateway.log, ...other.log].filter(({ 'm2m.detail': detail }) => detail === 'delivered');
  expect(told).toHaveLength(texts.length);
  await gateway.kill();
  const { terminal } = await asked(other);
  await became(terminal, 'sent');
});

test('what an SMSC refuses, accepts or delivers leaves no trace of a text in logs and metrics', async () => {
  gateway = await start();
  smsc.behave({ refuse: 0x58 });
  const { terminal, phone, to } = await asked();
  await became(terminal, 'waiting');
  smsc.behave({ refuse: 0 });
  await hurry(operator, terminal);
  await became(terminal, 'sent', 2);
  const { text, message_id } = await smsc.saw('submit', (one) => to(one) && one !== smsc.all('submit')[0]);
  // Receipts quote what they are about.
  smsc.deliver({ esm_class: 4, short_message: `id:x-${String(text)} stat:${String(text)}` });
  smsc.deliver({ esm_class: 0, source_addr: phone, short_message: String(text) });
  expect(await deliver(message_id, 'UNDELIV')).toBe(0);
  await became(terminal, 'waiting', 2);
  const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
  const rows = JSON.stringify(
    await operator.sql(`SELECT to_jsonb(o) - 'msisdn' AS row FROM m2m.sms_outbox AS o`),
  );
  for (const shown of [JSON.stringify(gateway.log), gateway.stderr(), metrics, rows]) {
    for (const word of [
      String(text),
      ...String(text)
        .split(' ')
        .filter((one) => one.length > 8),
    ])
      expect(shown).not.toContain(word);
  }
  for (const shown of [JSON.stringify(gateway.log), gateway.stderr(), metrics]) {
    expect(shown).not.toContain(phone.slice(1));
  }
});
