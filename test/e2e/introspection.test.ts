/** A data server asks gateways for the sessions of terminals. */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { login, loginForKey, logout, RESULT, TAG, unwrap, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const TOKEN = 'data-server-one-0123456789';
let deployment: Deployment;
let tokenFile: string;
let one: GatewayProcess;
let two: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  tokenFile = join(deployment.home.directory, 'tokens');
  writeFileSync(tokenFile, `# the first\n${TOKEN}\n`, { mode: 0o600 });
  const start = (name: string, extra: Record<string, string>) =>
    deployment.start({ M2M_GATEWAY_ID: name, ...extra });
  const introspecting = { M2M_OPS_TOKEN_FILE: tokenFile };
  [one, two] = await Promise.all([start('one', introspecting), start('two', introspecting)]);
});

afterAll(() => deployment?.close());

interface Answer {
  status: number;
  body: Record<string, unknown>;
  headers: Headers;
}

/** A connection that idled while somebody stood still is closed under the next request. */
const CLOSE = { connection: 'close' };

async function post(
  gateway: GatewayProcess,
  body: string,
  token: string | undefined = TOKEN,
  from = '127.0.0.1',
): Promise<Answer> {
  const url = gateway.ops.replace('127.0.0.1', from);
  const headers: Record<string, string> = { ...CLOSE, 'content-type': 'application/json' };
  if (token !== '') headers['authorization'] = `Bearer ${token}`;
  const answer = await fetch(`${url}/v1/sessions/introspect`, { method: 'POST', headers, body });
  return {
    status: answer.status,
    body: (await answer.json()) as Record<string, unknown>,
    headers: answer.headers,
  };
}

const ask = (gateway: GatewayProcess, what: object) => post(gateway, JSON.stringify(what));

async function session(terminal: Terminal, gateway = one, withKey = true) {
  const socket = await RawTerminal.open(gateway);
  const answer = await socket.ask((withKey ? loginForKey : login)(terminal));
  expect(answer.result).toBe(RESULT.OK);
  const wrapped = answer.tlvs.get(TAG.SESSION_KEY);
  return {
    socket,
    id: answer.tlvs.get(TAG.SESSION_ID)!.toString('hex'),
    key: wrapped && unwrap(terminal.baseKey, wrapped)!.toString('hex'),
  };
}

test('the session, by its id or by serial, from any gateway', async () => {
  const terminal = await operator.provision({ baseKeySize: 32 });
  const { id, key } = await session(terminal);
  for (const gateway of [one, two]) {
    for (const what of [{ session_id: id }, { serial: terminal.serial }]) {
      const { status, body, headers } = await ask(gateway, what);
      expect(status).toBe(200);
      expect(body).toEqual({
        active: true,
        serial: terminal.serial,
        session_id: id,
        session_key: key,
        expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
        gateway: 'one',
      });
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('content-type')).toBe('application/json');
    }
  }
});

test('without a session key: null', async () => {
  const terminal = await operator.provision();
  const { id } = await session(terminal, two, false);
  expect((await ask(one, { session_id: id })).body).toMatchObject({ session_key: null, gateway: 'two' });
});

test('what is not live is not active, at once', async () => {
  const [gone, suspended, superseded, expired] = await Promise.all([
    operator.provision(),
    operator.provision(),
    operator.provision(),
    operator.provision(),
  ]);
  const left = await session(gone);
  await left.socket.ask(logout(gone, { sequence: 2 }));
  const out = await session(suspended);
  await operator.sql(`SELECT m2m.suspend_terminal($1, 'x')`, [suspended.serial]);
  const old = await session(superseded);
  const socket = await RawTerminal.open(two);
  await socket.ask(login(superseded, { sequence: 2 }));
  // Its time is up, and nobody has cleaned up after it yet.
  const late = await session(expired);
  await operator.sql(
    `UPDATE m2m.session AS s SET expires_at = now() FROM m2m.terminal AS t
     WHERE t.id = s.terminal_id AND t.serial = $1`,
    [expired.serial],
  );
  const names = [
    { serial: expired.serial },
    { session_id: late.id },
    { serial: gone.serial },
    { session_id: left.id },
    { serial: suspended.serial },
    { session_id: out.id },
    { session_id: old.id },
    { session_id: '0123456789abcdef' },
    { serial: 'NOBODY' },
  ];
  for (const name of names)
    expect(await ask(two, name)).toMatchObject({ status: 200, body: { active: false } });
  expect((await ask(two, { serial: superseded.serial })).body['active']).toBe(true);
});

test('without a token, or with a wrong one: 401; who goes on guessing is put off', async () => {
  const body = JSON.stringify({ serial: 'NOBODY' });
  const none = await post(two, body, '');
  expect([none.status, none.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="m2m"']);
  const wrong = await post(two, body, `${TOKEN}x`);
  expect(wrong.status).toBe(401);
  expect(wrong.headers.get('www-authenticate')).toContain('invalid_token');
  const guesses = Array.from({ length: 60 }, () => post(two, body, 'x'.repeat(20)));
  const statuses = (await Promise.all(guesses)).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([401, 429]));
});

test.each([
  ['nothing', ''],
  ['no JSON', 'session_id=0123456789abcdef'],
  ['neither', '{}'],
  ['both', '{"serial":"T1","session_id":"0123456789abcdef"}'],
  ['upper case', '{"session_id":"0123456789ABCDEF"}'],
  ['a number', '{"serial":5}'],
  ['null', 'null'],
  ['too long', JSON.stringify({ serial: 'T1', filler: 'x'.repeat(100_000) })],
])('a bad body, %s: 400 and what it should be', async (_, body) => {
  const answer = await post(one, body);
  expect(answer.status).toBe(400);
  expect(answer.body).toEqual({
    error: 'invalid_request',
    error_description: expect.stringContaining('"session_id"') as string,
  });
});

test('other methods and paths', async () => {
  const got = await fetch(`${one.ops}/v1/sessions/introspect`, {
    headers: { authorization: `Bearer ${TOKEN}`, ...CLOSE },
  });
  expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST']);
  expect((await fetch(`${one.ops}/healthz`, { method: 'POST', headers: CLOSE })).status).toBe(405);
  expect((await fetch(`${one.ops}/v1/sessions`, { headers: CLOSE })).status).toBe(404);
});

/** In one step: a file that is just being written has no tokens. */
function replace(text: string): void {
  writeFileSync(`${tokenFile}.new`, text, { mode: 0o600 });
  renameSync(`${tokenFile}.new`, tokenFile);
}

test('tokens come and go without a restart', async () => {
  const added = 'data-server-two-0123456789';
  replace(`${TOKEN}\n${added}\n`);
  await one.logged(
    (line) => line['event.action'] === 'tokens-changed' && line['event.outcome'] === 'success',
  );
  expect((await post(one, '{"serial":"NOBODY"}', added)).status).toBe(200);
  const before = one.log.length;
  replace('no token\n');
  const line = await one.logged(
    (entry) => entry['event.action'] === 'tokens-changed' && entry['event.outcome'] === 'failure',
  );
  expect(one.log.indexOf(line)).toBeGreaterThanOrEqual(before);
  expect((await post(one, '{"serial":"NOBODY"}', added)).status).toBe(200);
  replace(`${TOKEN}\n`);
});

test('neither keys nor tokens are in the logs; who asked for what is', async () => {
  const terminal = await operator.provision();
  const { id, key } = await session(terminal);
  await ask(one, { session_id: id });
  const line = await one.logged(
    (entry) => entry['event.action'] === 'session-introspected' && entry['m2m.session_id'] === id,
  );
  expect(line).toMatchObject({ 'device.id': terminal.serial, 'source.ip': '127.0.0.1' });
  const all = JSON.stringify([...one.log, ...two.log]);
  for (const secret of [key!, TOKEN]) expect(all).not.toContain(secret);
  const metrics = await (await fetch(`${one.ops}/metrics`, { headers: CLOSE })).text();
  expect(metrics).toMatch(/m2m_introspections_total\{result="active"\} \d/);
});

test('off where no tokens are given', async () => {
  const off = await deployment.start();
  const answer = await post(off, '{"serial":"NOBODY"}');
  expect(answer).toMatchObject({
    status: 404,
    body: { error_description: expect.stringMatching(/M2M_OPS_TOKEN_FILE/) as string },
  });
  await off.stop();
});
