import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Webhook } from '../../../src/platform/sms/webhook';
import { WebhookServer } from '../../support/webhook';

const TEXT = { id: 7, serial: 'T-1', msisdn: '+41790000000', text: 'M2M2 C=1 U=secret S=seal' };

let server: WebhookServer;
beforeAll(async () => {
  server = await WebhookServer.start();
});
afterAll(() => server.stop());
beforeEach(() => {
  server.posted.length = 0;
});

const url = (credentials = '') => `http://${credentials}127.0.0.1:${server.port}/sms`;
const failed = (why: string) => ({ kind: 'failed', why });

test.each([200, 201, 204])('%d is delivered', async (status) => {
  server.answer(TEXT.msisdn, status);
  expect(await new Webhook(url()).send(TEXT)).toEqual({ kind: 'delivered' });
  expect(server.posted).toMatchObject([{ path: '/sms', authorization: undefined }]);
  expect(server.posted[0]!.body).toEqual({ id: 7, to: TEXT.msisdn, text: TEXT.text });
});

test.each([302, 307, 401, 404, 500, 503])('%d is not, and is not followed', async (status) => {
  server.answer(TEXT.msisdn, status);
  expect(await new Webhook(url()).send(TEXT)).toEqual(failed(`HTTP status ${status}`));
  expect(server.posted).toHaveLength(1);
});

test.each([
  ['m2m:secret@', 'm2m:secret'],
  ['m2m:p%40ss%3Aword@', 'm2m:p@ss:word'],
  ['m2m:100%@', 'm2m:100%'],
  ['m2m@', 'm2m:'],
  [':secret@', ':secret'],
])('credentials of the URL (%s) go as basic auth', async (credentials, shown) => {
  server.answer(TEXT.msisdn, 200);
  await new Webhook(url(credentials)).send(TEXT);
  expect(server.posted[0]!.authorization).toBe(`Basic ${Buffer.from(shown).toString('base64')}`);
});

test('nobody there, and one who hangs up: failed, without a word of the URL', async () => {
  const rude = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => rude.listen(0, '127.0.0.1', resolve));
  const address = `http://m2m:secret@127.0.0.1:${(rude.address() as AddressInfo).port}/`;
  const why = async () => ((await new Webhook(address).send(TEXT)) as { why: string }).why;
  expect(await why()).toMatch(/^cannot be reached: [A-Z_]+$/);
  await new Promise((resolve) => rude.close(resolve));
  expect(await why()).toBe('cannot be reached: ECONNREFUSED');
});

test('a port that no HTTP client of browsers uses is told as that', async () => {
  const { why } = (await new Webhook('http://127.0.0.1:6000/').send(TEXT)) as { why: string };
  expect(why).toBe('fetch() refuses this port: the webhook needs another one');
});

test('one who does not answer: failed after a while', async () => {
  server.answer(TEXT.msisdn, 'hang');
  expect(await new Webhook(url(), 100).send(TEXT)).toEqual(failed('no answer within 0.1 s'));
});

test('closed: what is under way has failed, and nothing more is sent', async () => {
  server.answer(TEXT.msisdn, 'hang');
  const webhook = new Webhook(url());
  const sent = webhook.send(TEXT);
  await server.got(TEXT.msisdn);
  await webhook.close();
  expect(await sent).toEqual(failed('the gateway stops'));
  expect(await webhook.send(TEXT)).toEqual(failed('the gateway stops'));
  expect(server.posted).toHaveLength(1);
});
