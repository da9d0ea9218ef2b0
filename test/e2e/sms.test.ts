/** New secrets by SMS through a webhook, against the real process: asked for, texted, read, confirmed. */
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { credentialConfirm, downlinkFlaw, login, RESULT, SUITE, TAG, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { askByText, hurry, outboxOf, outboxRow, provisionSealedPhone, readText } from '../support/texts';
import { WebhookServer } from '../support/webhook';

const UPLINK = 1;
const ALL = 7;
const URL_PASSWORD = 'pa:ss/word';

let database: TestDatabase;
let home: TestHome;
let webhook: WebhookServer;
let gateway: GatewayProcess;
let operator: Operator;
const logs: GatewayProcess[] = [];

async function start(): Promise<void> {
  const address = `http://m2m:${encodeURIComponent(URL_PASSWORD)}@127.0.0.1:${webhook.port}/texts?from=m2m`;
  gateway = await startGateway({ databaseUrl: database.url, home, environment: { M2M_SMS: address } });
  logs.push(gateway);
}

beforeAll(async () => {
  [database, webhook] = await Promise.all([createDatabase(), WebhookServer.start()]);
  home = testHome();
  await start();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await webhook?.stop();
  await database?.drop();
  home?.remove();
});

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

let sequence = 0;
const next = () => (sequence += 1);

async function dial(): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(gateway);
  open.push(terminal);
  return terminal;
}

async function loggedIn(terminal: Terminal, suite: number = SUITE.HMAC): Promise<RawTerminal> {
  const socket = await dial();
  expect((await socket.ask(login(terminal, { suite, sequence: next() }))).result).toBe(RESULT.OK);
  return socket;
}

const tryLogin = async (terminal: Terminal) =>
  (await (await dial()).ask(login(terminal, { sequence: next() }))).result;

/** A terminal that has asked, and is texted or not as the webhook answers. */
async function asked(...answers: (number | 'hang')[]) {
  const { terminal, phone } = await provisionSealedPhone(operator);
  if (answers.length > 0) webhook.answer(phone, ...answers);
  const socket = await loggedIn(terminal);
  await askByText(socket, terminal, { targets: UPLINK, sequence: next() });
  return { terminal, phone, socket };
}

const failedOnce = (terminal: Terminal) =>
  outboxRow(
    operator,
    terminal,
    'waiting again',
    ({ status, attempts }) => status === 'waiting' && attempts > 0,
  );

const delivered = (terminal: Terminal) =>
  outboxRow(operator, terminal, 'delivered', ({ status }) => status === 'delivered');

const sentLine = (terminal: Terminal, detail: RegExp) =>
  gateway.logged(
    (line) =>
      line['event.action'] === 'sms-sent' &&
      line['device.id'] === terminal.serial &&
      detail.test(String(line['m2m.detail'])),
  );

test.each([
  ['suite 1, 16-byte base key', SUITE.MD5, 16],
  ['suite 2, 32-byte base key', SUITE.HMAC, 32],
])('%s: all three by SMS, confirmed under the new ones', async (_name, suite, baseKeySize) => {
  const { terminal, phone } = await provisionSealedPhone(operator, { baseKeySize });
  const socket = await loggedIn(terminal, suite);
  const answer = await askByText(socket, terminal, { targets: ALL, suite, sequence: next() });
  const [posted] = await webhook.got(phone);
  expect(posted).toMatchObject({
    method: 'POST',
    path: '/texts?from=m2m',
    type: 'application/json',
    authorization: `Basic ${Buffer.from(`m2m:${URL_PASSWORD}`).toString('base64')}`,
  });
  expect(Object.keys(posted!.body)).toEqual(['id', 'to', 'text']);
  const { id, changed } = readText(posted!.body.text, terminal, suite);
  expect(answer.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0)).toBe(id);
  expect(changed.uplinkPassword).not.toEqual(terminal.uplinkPassword);
  expect(changed.baseKey).toHaveLength(baseKeySize);

  const again = await askByText(socket, terminal, { targets: ALL, suite, sequence: next() });
  expect(again.tlvs.get(TAG.CHANGE_ID)).toEqual(answer.tlvs.get(TAG.CHANGE_ID));
  const row = await delivered(terminal);
  expect(row).toMatchObject({ id: posted!.body.id, text: null, last_error: null });
  expect(
    await operator.sql('SELECT FROM m2m.sms_outbox_status WHERE serial = $1', [terminal.serial]),
  ).toHaveLength(1);

  expect(await tryLogin(changed)).toBe(RESULT.AUTH_FAILED);
  const confirm = credentialConfirm(id)(changed, { suite, sequence: next(), keyProof: true });
  const confirmed = await socket.ask(confirm);
  expect(confirmed.result).toBe(RESULT.OK);
  expect(downlinkFlaw(confirmed, changed, confirm)).toBeUndefined();
  expect(await tryLogin(terminal)).toBe(RESULT.AUTH_FAILED);
  expect(await tryLogin(changed)).toBe(RESULT.OK);
  expect(webhook.to(phone).length).toBeLessThanOrEqual(row.attempts);
});

test('refused with 500 and 302: again later and later, the same text, and never to where it is sent on', async () => {
  const { terminal, phone } = await asked(500, 302, 200);
  const first = await sentLine(terminal, /^HTTP status 500; again in \d+ s$/);
  expect(first).toMatchObject({ 'event.outcome': 'failure', 'log.level': 'warn' });
  await hurry(operator, terminal);
  await sentLine(terminal, /^HTTP status 302; again in \d+ s$/);
  await hurry(operator, terminal);
  const texts = await webhook.got(phone, 3);
  await delivered(terminal);
  expect(new Set(texts.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(webhook.posted.filter(({ path }) => path === '/elsewhere')).toEqual([]);
  expect(await sentLine(terminal, /^delivered$/)).toMatchObject({ 'event.outcome': 'success' });
});

test('a number that has changed: the same change goes there at once, and nothing more to the old one', async () => {
  const { terminal, phone, socket } = await asked(500);
  expect((await failedOnce(terminal)).text![0]).not.toBe(0);
  const other = '+41792222222';
  await operator.sql('SELECT m2m.set_contact($1, $2, NULL)', [terminal.serial, other]);
  const [old] = await outboxOf(operator, terminal);
  expect(old).toMatchObject({ status: 'void', text: null });
  await hurry(operator, terminal);
  await askByText(socket, terminal, { targets: UPLINK, sequence: next() });
  const [posted] = await webhook.got(other);
  expect(posted!.body.text).toBe(webhook.to(phone)[0]!.body.text);
  expect(webhook.to(phone).length).toBeLessThanOrEqual(old!.attempts);
});

test('another change overtakes it', async () => {
  const { terminal, phone, socket } = await asked(500);
  await failedOnce(terminal);
  await askByText(socket, terminal, { targets: 2, sequence: next() });
  webhook.answer(phone, 200);
  await hurry(operator, terminal);
  await delivered(terminal);
  expect((await outboxOf(operator, terminal)).map(({ status }) => status)).toEqual(['void', 'delivered']);
});

test('killed between commit and delivery: sent after the start; what is too old is given up', async () => {
  const { terminal, phone } = await asked('hang');
  const old = await asked('hang');
  await Promise.all([webhook.got(phone), webhook.got(old.phone)]);
  await gateway.kill();
  webhook.answer(phone, 200);
  expect(await outboxOf(operator, terminal)).not.toMatchObject([{ status: 'delivered' }]);
  await hurry(operator, terminal);
  await operator.sql(`UPDATE m2m.sms_outbox SET created_at = now() - interval '2 days' WHERE serial = $1`, [
    old.terminal.serial,
  ]);
  await start();
  const [first, second] = await webhook.got(phone, 2);
  expect(second!.body).toEqual(first!.body);
  await delivered(terminal);
  expect(await sentLine(old.terminal, /^given up/)).toMatchObject({ 'event.outcome': 'failure' });
  expect(await outboxOf(operator, old.terminal)).toMatchObject([{ status: 'failed', text: null }]);
});

test('a webhook that is gone: waiting, and delivered when it is back', async () => {
  const { port } = webhook;
  await webhook.stop();
  const { terminal, phone } = await asked();
  const row = await failedOnce(terminal);
  expect(row.last_error).toMatch(/^cannot be reached: E[A-Z]+$/);
  await webhook.listen(port);
  await hurry(operator, terminal);
  await webhook.got(phone);
  await delivered(terminal);
});

test('neither texts nor phone numbers nor the password of the webhook are in logs or in the table', async () => {
  const { terminal, phone } = await asked(500);
  await failedOnce(terminal);
  const logged = JSON.stringify(logs.map(({ log, stderr }) => [log, stderr()]));
  const dump = JSON.stringify(
    await operator.sql(`SELECT to_jsonb(o) - 'msisdn' AS row FROM m2m.sms_outbox AS o`),
  );
  expect(webhook.to(phone)).not.toEqual([]);
  for (const { body } of webhook.posted) {
    for (const word of [body.to, ...body.text.split(' ').filter((one) => one.length > 12)]) {
      expect(logged).not.toContain(word);
      expect(dump).not.toContain(word);
      expect(dump).not.toContain(Buffer.from(word, 'latin1').toString('hex'));
    }
  }
  for (const written of [URL_PASSWORD, encodeURIComponent(URL_PASSWORD)]) {
    expect(logged).not.toContain(written);
    expect(dump).not.toContain(written);
  }
});

test('a webhook that hangs does not hold up the others, nor the end of the gateway', async () => {
  const { terminal, phone } = await asked('hang');
  await webhook.got(phone);
  const quick = await asked();
  await webhook.got(quick.phone);
  await delivered(quick.terminal);
  // It has 10 s, which may be over by now.
  const [held] = await outboxOf(operator, terminal);
  expect(held!.status).toBeOneOf(['sending', 'waiting']);
  expect(held!.last_error).toBeOneOf([null, 'no answer within 10 s']);
  expect(await gateway.stop()).toBe(0);
  const [row] = await outboxOf(operator, terminal);
  expect(row!.status).toBe('waiting');
  expect(row!.last_error).toBeOneOf(['the gateway stops', 'no answer within 10 s']);
});
