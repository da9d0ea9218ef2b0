/** `m2m emulate change` and `run` against a real gateway: a change from end to end, power cuts and texts included. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseState } from '../../src/terminal/state';
import { events, m2m, requireBuild, type Ended } from '../support/cli';
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import { newTerminal, type Operator } from '../support/operator';
import type { Terminal } from '../support/oracle';

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;
let folder: string;

beforeAll(async () => {
  requireBuild('terminal', 'protocol');
  deployment = await Deployment.open();
  ({ operator } = deployment);
  folder = mkdtempSync(join(tmpdir(), 'm2m-change-'));
  gateway = await deployment.start();
});

afterAll(async () => {
  await deployment?.close();
  rmSync(folder, { recursive: true, force: true });
});

const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`;
const stateFile = ({ serial }: Terminal) => join(folder, `${serial}.json`);
const stateOf = (terminal: Terminal) => parseState(readFileSync(stateFile(terminal), 'utf8'));

function emulate(terminal: Terminal, what: string[], watch?: Parameters<typeof m2m>[1]): Promise<Ended> {
  const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = terminal;
  const identity = ['--serial', serial, '--imei', imei, '--imsi', imsi];
  const secrets = [
    '--uplink',
    hex(uplinkPassword),
    '--downlink',
    hex(downlinkPassword),
    '--base-key',
    hex(baseKey),
  ];
  const where = [
    '--connect',
    `${gateway.host}:${gateway.port}`,
    '--state',
    stateFile(terminal),
    '--timeout',
    '60',
  ];
  return m2m(['emulate', ...what, ...where, ...identity, ...secrets], watch);
}

test('all three change and are confirmed; the next login uses them', async () => {
  const terminal = await operator.provision({ baseKeySize: 32 });
  const { code, out, err } = await emulate(terminal, ['change', '--targets', 'all', '--json']);
  expect([code, err]).toEqual([0, '']);
  expect(events(out, 'change')).toEqual([expect.objectContaining({ result: 'OK', change_id: 1 })]);
  expect(events(out, 'confirm')).toEqual([expect.objectContaining({ result: 'OK' })]);
  const state = stateOf(terminal);
  expect(state.change).toBeUndefined();
  for (const name of ['uplinkPassword', 'downlinkPassword', 'baseKey'] as const)
    expect(state[name]).not.toEqual(terminal[name]);
  expect((await emulate(terminal, ['login', '--key'])).code).toBe(0);
});

test.each(['change-answered', 'change-stored', 'confirm-sent', 'confirm-answered'])(
  'a power cut after %s: the terminal goes on where it stopped',
  async (step) => {
    const terminal = await operator.provision();
    const cut = await emulate(terminal, ['change', '--targets', 'all', '--crash-after', step]);
    expect(cut.code).toBeNull();
    const after = await emulate(terminal, ['change', '--key']);
    expect([after.code, after.err]).toEqual([0, '']);
    expect(stateOf(terminal).change).toBeUndefined();
    const [row] = await operator.sql('SELECT pending_change FROM m2m.terminal_status WHERE serial = $1', [
      terminal.serial,
    ]);
    const isOver = row!['pending_change'] === null;
    // Where the answer was not stored the platform still waits, and the old values are as good as ever.
    expect(isOver).toBe(step !== 'change-answered');
  },
);

test('by SMS: the text is checked, stored and confirmed', async () => {
  const terminal = newTerminal();
  const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = terminal;
  await operator.sql(`SELECT m2m.provision_terminal($1, $2, $3, $4, $5, $6, msisdn => '+4915112345678')`, [
    serial,
    imei,
    imsi,
    uplinkPassword,
    downlinkPassword,
    baseKey,
  ]);
  const waiting = await emulate(terminal, [
    'change',
    '--targets',
    'uplink,downlink',
    '--delivery',
    'sms',
    '--json',
  ]);
  expect([waiting.code, events(waiting.out, 'change')[0]!['result']]).toEqual([0, 'WAIT_FOR_SMS']);
  const text = await textFor(serial);
  const forged = await emulate(terminal, ['change', '--sms-text', text.replace(/ U=./, ' U=!')]);
  expect([forged.code, forged.err]).toEqual([1, expect.stringContaining('the text is not taken')]);
  const taken = await emulate(terminal, ['change', '--sms-text', text]);
  expect([taken.code, taken.err]).toEqual([0, '']);
  expect(stateOf(terminal).uplinkPassword).not.toEqual(uplinkPassword);
  expect((await emulate(terminal, ['login'])).code).toBe(0);
});

function textFor(serial: string): Promise<string> {
  return eventually('a text', async () => {
    const rows = await operator.sql<{ serial: string; text: string }>(
      'SELECT serial, text FROM m2m.take_sms()',
    );
    return rows.find((row) => row.serial === serial)?.text;
  });
}

test('a terminal that stays follows the wish of the platform', async () => {
  const terminal = await operator.provision();
  let wished: Promise<unknown> | undefined;
  const { code, out } = await emulate(terminal, ['run', '--json'], (shown, kill) => {
    if (events(wholeLines(shown), 'login').length > 0) {
      wished ??= operator.sql('SELECT m2m.request_credential_change($1, $2)', [
        terminal.serial,
        '{uplink,base_key}',
      ]);
    }
    if (events(wholeLines(shown), 'confirm').length > 0) kill('SIGTERM');
  });
  expect(code).toBe(0);
  expect(events(out, 'notice')).toEqual([
    expect.objectContaining({ change_targets: ['uplink', 'base_key'] }),
  ]);
  expect(events(out, 'confirm')).toEqual([expect.objectContaining({ result: 'OK' })]);
  expect(stateOf(terminal).uplinkPassword).not.toEqual(terminal.uplinkPassword);
});

const wholeLines = (shown: string) => shown.slice(0, shown.lastIndexOf('\n') + 1);
