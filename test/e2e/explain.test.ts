/** What an operator gets to read about a terminal that does not get in. */
import { randomBytes } from 'node:crypto';
import { NEAR_MISSES } from '../../src/platform/flows/nearMiss';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import {
  login,
  loginForKey,
  now,
  RESULT,
  SUITE,
  type RequestOptions,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
});

afterAll(() => deployment?.close());

interface Told {
  at: Date;
  result: string;
  reason: string;
  advice: string | null;
}

const explain = (serial: string) => operator.sql<Told>('SELECT * FROM m2m.explain($1)', [serial]);

/** Rows of explain, once one of them is as told. */
async function explained(serial: string, reason: RegExp): Promise<Told> {
  const deadline = Date.now() + 240_000;
  for (;;) {
    const rows = await explain(serial);
    const found = rows.find((row) => reason.test(row.reason));
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not explained: ${JSON.stringify(rows)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function attempt(terminal: Terminal, options: Partial<RequestOptions> = {}, frame = login) {
  const socket = await RawTerminal.open(gateway);
  const answer = await socket.ask(frame(terminal, options));
  socket.close();
  return answer;
}

test('a serial that nobody has: what was tried, and which serial may be meant', async () => {
  const terminal = await operator.provision();
  const typo = { ...terminal, serial: terminal.serial.replace('T-', 't.') };
  expect((await attempt(typo)).result).toBe(RESULT.AUTH_FAILED);
  const told = await explained(typo.serial, /^unknown-serial/);
  expect(told.result).toBe('auth-failed');
  const [first] = await explain(typo.serial);
  expect(first).toMatchObject({
    result: 'not-provisioned',
    advice: `is one of these meant: ${terminal.serial}?`,
  });
  const [row] = await operator.sql('SELECT failures FROM m2m.failing_terminals WHERE serial = $1', [
    typo.serial,
  ]);
  expect(row).toEqual({ failures: '1' });
});

test('a terminal that never came: it says so', async () => {
  const { serial } = await operator.provision();
  expect(await explain(serial)).toMatchObject([
    { result: 'provisioned', reason: expect.stringMatching(/not tried/) as string },
  ]);
});

test('another password, and the one before', async () => {
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  await operator.sql(`SELECT m2m.set_credentials($1, uplink_password => 'a new one')`, [terminal.serial]);
  expect((await attempt(terminal)).result).toBe(RESULT.AUTH_FAILED);
  const before = await explained(terminal.serial, /^replaced-password/);
  expect(before.advice).toContain(`m2m.set_credentials('${terminal.serial}'`);
  const other = { ...terminal, uplinkPassword: randomBytes(16) };
  await attempt(other, { sequence: 2 });
  await attempt(other, { sequence: 3 });
  const told = await explained(terminal.serial, /^wrong-digest.*; 2 times since/);
  expect(told.reason).toContain('from 127.0.0.1');
  expect(told.advice).toContain('npx m2m inspect');
});

test("a SIM that changed places with another terminal's", async () => {
  const [one, other] = [await operator.provision(), await operator.provision()];
  const moved = { imei: one.imei, imsi: other.imsi };
  expect((await attempt(one, { claim: moved })).result).toBe(RESULT.BINDING_MISMATCH);
  const told = await explained(one.serial, /^other-imsi/);
  expect(told.reason).toContain(`IMSI ${other.imsi} in place of ${one.imsi}`);
  expect(told.advice).toContain(`SELECT m2m.swap_sims('${one.serial}', '${other.serial}')`);
});

test.each<[string, RegExp, (terminal: Terminal) => Promise<unknown>]>([
  [
    'suspended since when and why',
    /^suspended.*since .*: stolen/,
    async (terminal) => {
      await operator.sql(`SELECT m2m.suspend_terminal($1, 'stolen')`, [terminal.serial]);
      await attempt(terminal);
    },
  ],
  [
    'a clock off by how much',
    /^clock-off.*its clock was 4\d{3}s behind/,
    (terminal) => attempt(terminal, { at: now() - 4000 }),
  ],
  [
    'a replay',
    /^frame-taken-before/,
    async (terminal) => {
      const at = now();
      await attempt(terminal, { at });
      await attempt(terminal, { at });
    },
  ],
  [
    'a suite below least_login',
    /^below-least-login.*came by md5, least_login is hmac/,
    async (terminal) => {
      await operator.sql(`SELECT m2m.set_least_login($1, 'hmac')`, [terminal.serial]);
      await attempt(terminal, { suite: SUITE.MD5 });
    },
  ],
  [
    'a suite below the least_login of then, which is another one now',
    /^below-least-login.*came by md5, least_login was hmac; least_login is mutual now/,
    async (terminal) => {
      await operator.sql(`SELECT m2m.set_least_login($1, 'hmac')`, [terminal.serial]);
      await attempt(terminal, { suite: SUITE.MD5 });
      await explained(terminal.serial, /least_login is hmac;/);
      await operator.sql(`SELECT m2m.set_least_login($1, 'mutual')`, [terminal.serial]);
    },
  ],
  [
    'another base key',
    /^wrong-base-key-digest/,
    (terminal) => attempt(terminal, { keyProof: randomBytes(16) }, loginForKey),
  ],
  ["the digest's timestamp", /^timestamp-zero/, (terminal) => attempt(terminal, { implicit: true, at: 0 })],
])('%s', async (_, reason, fail) => {
  const terminal = await operator.provision();
  await fail(terminal);
  const told = await explained(terminal.serial, reason);
  expect(told.advice).toBeTruthy();
});

test('a login that works is told too, newest first', async () => {
  const terminal = await operator.provision();
  await attempt({ ...terminal, uplinkPassword: randomBytes(9) });
  await explained(terminal.serial, /^wrong-digest/);
  expect((await attempt(terminal, { sequence: 2 })).result).toBe(RESULT.OK);
  const rows = await explain(terminal.serial);
  expect(rows.map(({ result }) => result)).toEqual(['ok', 'auth-failed']);
  expect(rows[0]!.reason).toMatch(/logged in by hmac from 127\.0\.0\.1; its session stands until/);
});

test('every near miss has its row', async () => {
  const rows = await operator.sql<{ name: string }>('SELECT name FROM m2m.reason');
  expect(rows.map(({ name }) => name)).toEqual(expect.arrayContaining([...NEAR_MISSES]));
});
