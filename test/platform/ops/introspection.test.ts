/** Introspection without a gateway: how often it may be asked, and what is told of it. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Introspection, type IntrospectionOptions } from '../../../src/platform/ops/introspection';
import type { LogFacts } from '../../../src/platform/ops/log';
import { DatabaseAway } from '../../../src/platform/store/database';
import { createHash } from 'node:crypto';

const TOKENS = ['one', 'two'];
const LIVE = {
  serial: 'T1',
  sessionId: '0123456789abcdef',
  sessionKey: Buffer.alloc(16, 0x5a),
  expiresAt: new Date(1_800_000_000_000),
  gateway: 'one',
};

let now: number;
let find: IntrospectionOptions['find'];
let counted: string[];
let told: LogFacts[];
let introspection: Introspection;

beforeEach(() => {
  now = 1_800_000_000_000;
  find = () => Promise.resolve(LIVE);
  counted = [];
  told = [];
  introspection = new Introspection({
    tokens: () => TOKENS.map((token) => createHash('sha256').update(token).digest()),
    find: (name) => find(name),
    log: { event: (_action, facts) => void told.push(facts) },
    counted: (result) => void counted.push(result),
    now: () => now,
  });
});

function ask(token: string, body: string | readonly Buffer[] = '{"serial":"T1"}', from = '192.0.2.1') {
  const chunks = typeof body === 'string' ? [Buffer.from(body)] : body;
  const request = Object.assign(Readable.from(chunks), {
    headers: token === '' ? {} : { authorization: `Bearer ${token}` },
    socket: { remoteAddress: from },
  });
  return introspection.answer(request as unknown as IncomingMessage);
}

/** How many of so many are not put off. */
async function judged(times: number, token: string, from?: string): Promise<number> {
  let through = 0;
  for (let n = 0; n < times; n++) {
    const { status, headers } = await ask(token, undefined, from);
    if (status !== 429) through++;
    else expect(headers?.['retry-after']).toBe('1');
  }
  return through;
}

test('ten wrong tokens at once from one address, then one a second; the address is put off, not others', async () => {
  expect(await judged(15, 'wrong')).toBe(10);
  expect((await ask('one')).status).toBe(429);
  expect((await ask('one', undefined, '192.0.2.2')).status).toBe(200);
  now += 3_000;
  expect((await ask('one')).status).toBe(200);
  expect(await judged(5, '')).toBe(3);
});

test('right tokens are no guesses; each token has 2,000 questions at once, then 1,000 a second', async () => {
  expect(await judged(2_100, 'one')).toBe(2_000);
  expect((await ask('two')).status).toBe(200);
  now += 10;
  expect(await judged(15, 'one')).toBe(10);
});

test('every answer is counted under its name, and none may be kept', async () => {
  const answers = [
    await ask('one'),
    await ask('wrong'),
    await ask('one', 'nothing'),
    await ask('one', [Buffer.from('{"serial":"T1"'), Buffer.alloc(2_000, 0x20), Buffer.from('}')]),
  ];
  find = () => Promise.resolve(undefined);
  answers.push(await ask('one'));
  find = () => Promise.reject(new DatabaseAway('it is away', false));
  answers.push(await ask('one'));
  await judged(9, 'wrong');
  answers.push(await ask('wrong'));
  expect(answers.map(({ status }) => status)).toEqual([200, 401, 400, 400, 200, 503, 429]);
  expect(counted.slice(0, 6)).toEqual([
    ...['active', 'unauthorized', 'bad-request', 'bad-request', 'inactive', 'unavailable'],
  ]);
  expect(counted.at(-1)).toBe('too-many');
  for (const { headers } of answers) expect(headers?.['cache-control']).toBe('no-store');
  expect(answers[5]?.headers?.['retry-after']).toBe('1');
});

test('who asked for which session, found or not, is in the log', async () => {
  await ask('one', '{"session_id":"0123456789abcdef"}');
  find = () => Promise.resolve(undefined);
  await ask('one', '{"serial":"T9"}', '192.0.2.2');
  expect(told).toMatchObject([
    { outcome: 'success', serial: 'T1', sessionId: '0123456789abcdef', ip: '192.0.2.1' },
    { outcome: 'failure', serial: 'T9', ip: '192.0.2.2' },
  ]);
});
