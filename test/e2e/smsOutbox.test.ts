/** New secrets by SMS that operators fetch in SQL (M2M_SMS=outbox, the default), against the real process. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import { Operator } from '../support/operator';
import { credentialConfirm, login, RESULT, SUITE } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { askByText, hurry, outboxOf, provisionSealedPhone, readText } from '../support/texts';

const ALL = 7;

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;
let sender: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
  sender = await Operator.connect(deployment.database.url);
  await sender.sql('SET ROLE m2m_operator');
});

afterAll(async () => {
  await sender?.close();
  await deployment?.close();
});

const take = () => sender.sql<{ id: string; msisdn: string; text: string }>('SELECT * FROM m2m.take_sms()');
const taken = () => eventually('a text', async () => (await take())[0]);
const dump = async () => JSON.stringify(await operator.sql('SELECT to_jsonb(o) FROM m2m.sms_outbox AS o'));

test('asked for, handed out, returned, handed out again, delivered, confirmed; then nothing is left of it', async () => {
  const { terminal, phone } = await provisionSealedPhone(operator);
  const socket = await RawTerminal.open(gateway);
  await socket.ask(login(terminal, { sequence: 1 }));
  await askByText(socket, terminal, { targets: ALL, sequence: 2 });
  const [written] = await outboxOf(operator, terminal);
  expect(written).toMatchObject({ status: 'waiting', opened: null, attempts: 0 });
  expect(written!.text![0]).toBe(1);

  expect(await take()).toEqual([]);
  const { id, msisdn, text } = await taken();
  expect(msisdn).toBe(phone);
  const { id: changeId, changed } = readText(text, terminal, SUITE.HMAC);
  expect(await dump()).not.toContain(text);
  expect(await sender.sql(`SELECT m2m.acknowledge_sms($1, 'no signal') AS said`, [id])).toEqual([
    { said: 'waiting' },
  ]);
  await hurry(operator, terminal);
  expect(await taken()).toMatchObject({ id, text });
  expect(await sender.sql('SELECT m2m.acknowledge_sms($1) AS said', [id])).toEqual([{ said: 'delivered' }]);

  const confirm = credentialConfirm(changeId)(changed, { sequence: 3, keyProof: true });
  expect((await socket.ask(confirm)).result).toBe(RESULT.OK);
  socket.close();
  expect(await outboxOf(operator, terminal)).toMatchObject([
    { status: 'delivered', text: null, opened: null, attempts: 2 },
  ]);
  for (const word of [text, phone, ...text.split(' ').filter((one) => one.length > 12)]) {
    expect(JSON.stringify(gateway.log) + gateway.stderr()).not.toContain(word);
    if (word !== phone) expect(await dump()).not.toContain(word);
  }
});
