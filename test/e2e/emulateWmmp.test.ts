/** `m2m emulate --wmmp` against a real gateway: logins, heartbeats, and changes of credentials, power cuts included. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseState } from '../../src/terminal/state';
import { events, m2m, requireBuild, type Ended } from '../support/cli';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import type { Terminal } from '../support/oracle';
import { sealed } from '../support/texts';

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;
let folder: string;

beforeAll(async () => {
  requireBuild('terminal', 'terminal/wmmp', 'protocol', 'protocol/wmmp', 'cli');
  deployment = await Deployment.open();
  ({ operator } = deployment);
  folder = mkdtempSync(join(tmpdir(), 'm2m-wmmp-'));
  gateway = await deployment.start();
});

afterAll(async () => {
  await deployment?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function provision(): Promise<Terminal> {
  const terminal = await operator.provision({ leastLogin: 'wmmp3', baseKeySize: 24 });
  await sealed(operator, terminal);
  return terminal;
}

const stateFile = ({ serial }: Terminal) => join(folder, `${serial}.json`);
const stateOf = (terminal: Terminal) => parseState(readFileSync(stateFile(terminal), 'utf8'));
const request = ({ serial }: Terminal) =>
  operator.sql(`SELECT m2m.request_credential_change($1, ARRAY['uplink', 'downlink', 'base_key'])`, [serial]);

/** @param secrets those that a new state begins with; a state that is there keeps its own */
function emulate(
  secrets: Terminal,
  how: readonly string[],
  watch?: Parameters<typeof m2m>[1],
): Promise<Ended> {
  const { serial, imei, imsi } = secrets;
  const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`;
  const given = {
    connect: `${gateway.host}:${gateway.port}`,
    serial,
    imei,
    imsi,
    uplink: hex(secrets.uplinkPassword),
    downlink: hex(secrets.downlinkPassword),
    'base-key': hex(secrets.baseKey),
    timeout: '60',
  };
  const options = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
  return m2m(['emulate', ...how, '--wmmp', ...options], watch);
}

const withState = (terminal: Terminal, how: readonly string[], watch?: Parameters<typeof m2m>[1]) =>
  emulate(terminal, [...how, '--state', stateFile(terminal)], watch);

const wholeLines = (shown: string) => shown.slice(0, shown.lastIndexOf('\n') + 1);

test('logs in with and without a session key; another password is refused with exit code 1', async () => {
  const terminal = await provision();
  const plain = await emulate(terminal, ['login', '--json', '--logout', '--firmware', 'fw 1.0']);
  expect([plain.code, plain.err]).toEqual([0, '']);
  expect(events(plain.out, 'login')).toEqual([
    { event: 'login', result: 'OK', timestamp: expect.any(Number) as number },
  ]);
  expect(events(plain.out, 'logout')).toMatchObject([{ result: 'OK' }]);
  const keyed = await emulate(terminal, ['login', '--key']);
  expect([keyed.code, keyed.err]).toEqual([0, '']);
  expect(keyed.out).toMatch(/^session key: ([0-9a-f]{16})[0-9a-f]{16}\1$/m);
  const other = { ...terminal, uplinkPassword: Buffer.from('12345678') };
  const refused = await emulate(other, ['login']);
  expect([refused.code, refused.err]).toEqual([1, expect.stringMatching(/login failed: .* result 2/)]);
});

test('a terminal that stays beats, and follows the wish of the platform', async () => {
  const terminal = await provision();
  let wished: Promise<unknown> | undefined;
  const how = ['run', '--key', '--json', '--heartbeat', '0.2', '--logout'];
  const { code, out, err } = await withState(terminal, how, (shown, kill) => {
    const names = events(wholeLines(shown)).map(({ event }) => event);
    if (names.includes('heartbeat')) wished ??= request(terminal);
    if (names.includes('heartbeat', names.indexOf('confirm') + 1) && names.includes('confirm'))
      kill('SIGTERM');
  });
  await wished;
  expect([code, err]).toEqual([0, '']);
  expect(events(out, 'change')).toMatchObject([
    { result: 'OK', change_targets: ['uplink', 'downlink', 'base_key'] },
  ]);
  expect(events(out, 'confirm')).toMatchObject([{ result: 'OK' }]);
  expect(events(out, 'logout')).toMatchObject([{ result: 'OK' }]);
  const { uplinkPassword, downlinkPassword, baseKey, aside } = stateOf(terminal);
  expect([uplinkPassword.length, downlinkPassword.length, baseKey?.length, aside]).toEqual([
    8,
    8,
    24,
    undefined,
  ]);
  expect(baseKey).not.toEqual(terminal.baseKey);
  expect((await withState(terminal, ['login', '--key'])).code).toBe(0);
  // What it began with is over.
  expect((await emulate(terminal, ['login'])).code).toBe(1);
});

test.each([
  ['config-stored'],
  ['config-acknowledged'],
  ['logout-answered'],
  ['login-sent'],
  ['login-answered', 'login-answered'],
])('power cuts after %s: the terminal gets in with the old values, and is changed', async (...steps) => {
  const terminal = await provision();
  await request(terminal);
  for (const step of steps) {
    const cut = await withState(terminal, ['change', '--crash-after', step]);
    expect([cut.code, cut.err]).toEqual([null, '']);
  }
  const { uplinkPassword, aside } = stateOf(terminal);
  expect(uplinkPassword).toEqual(terminal.uplinkPassword);
  expect(aside).toMatchObject({ uplinkPassword: expect.any(Buffer) as Buffer });
  const after = await withState(terminal, ['change', '--json']);
  expect([after.code, after.err]).toEqual([0, '']);
  expect(events(after.out, 'login')).toHaveLength(2);
  // The gateway makes its mind up once: what it sent before comes again.
  expect(stateOf(terminal)).toMatchObject({ ...aside, aside: undefined });
  const [row] = await operator.sql('SELECT pending_change FROM m2m.terminal_status WHERE serial = $1', [
    terminal.serial,
  ]);
  expect(row!['pending_change']).toBeNull();
});
