import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseState } from '../../src/terminal/state';
import { events, m2m, requireBuild } from '../support/cli';
import {
  disconnect,
  FakeGateway,
  sessionTlvs,
  signedAnswer,
  TERMINAL,
  unsignedAnswer,
  wellBehaved,
  type Answering,
} from '../support/fakeGateway';
import { COMMAND, digestIsGood, RESULT, TAG, timestampOf } from '../support/oracle';

const IDENTITY = ['--serial', TERMINAL.serial, '--imei', TERMINAL.imei, '--imsi', TERMINAL.imsi];
const PASSWORDS = ['--uplink', 'up-secret', '--downlink', `\\x${TERMINAL.downlinkPassword.toString('hex')}`];
const BASE_KEY = ['--base-key', TERMINAL.baseKey.toString()];
const DEVICE = [...IDENTITY, ...PASSWORDS, ...BASE_KEY];
let gateway: FakeGateway;
let folder: string;

beforeAll(() => requireBuild('terminal', 'protocol'));
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'emulate-'))));
afterEach(async () => {
  rmSync(folder, { recursive: true });
  await gateway?.stop().catch(() => undefined);
});

const serve = async (answering: Answering) => (gateway = await FakeGateway.start(answering));
const emulate = (how: 'login' | 'run', ...args: string[]) =>
  m2m(['emulate', how, '--connect', `127.0.0.1:${gateway.port}`, '--timeout', '60', ...args]);

describe('login', () => {
  test('prints the session and the key that was asked for', async () => {
    await serve(wellBehaved(TERMINAL));
    const { code, out, err } = await emulate('login', ...DEVICE, '--key', '--firmware', 'fw 9', '--logout');
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('logged in: session 13ddb37c3eac2743, for 86400 s, heartbeat every 300 s');
    expect(out).toContain(`session key: ${'07'.repeat(16)}`);
    expect(out).toContain('logged out');
    const [asked, last] = gateway.heard;
    expect(asked!.tlvs.get(TAG.FIRMWARE)?.toString()).toBe('fw 9');
    const signing = { ...TERMINAL, timestamp: timestampOf(asked!)!, password: TERMINAL.uplinkPassword };
    expect([asked!.suite, digestIsGood(asked!, signing), last!.command]).toEqual([2, true, COMMAND.LOGOUT]);
  });

  test('--json, --hex, --suite and --implicit-time', async () => {
    await serve(wellBehaved(TERMINAL));
    const { code, out } = await emulate(
      'login',
      ...DEVICE,
      '--json',
      '--hex',
      '--suite',
      '1',
      '--implicit-time',
    );
    expect(code).toBe(0);
    expect(events(out).map(({ event, direction }) => direction ?? event)).toEqual(['up', 'down', 'login']);
    expect(events(out, 'frame')[0]).toMatchObject({
      command: 'LOGIN',
      suite: 1,
      hex: expect.any(String) as unknown,
    });
    expect(events(out, 'login')).toMatchObject([{ result: 'OK', session_id: '13ddb37c3eac2743' }]);
    expect(timestampOf(gateway.heard[0]!)).toBeUndefined();
  });

  test('a state is made once, keeps its sequence rising, and needs no more options', async () => {
    await serve(wellBehaved(TERMINAL));
    const state = ['--state', join(folder, 'device.json')];
    expect((await emulate('login', ...state, ...DEVICE)).code).toBe(0);
    expect((await emulate('login', ...state)).code).toBe(0);
    expect((await emulate('login', ...state, ...PASSWORDS)).code).toBe(0);
    const [one, two, three] = gateway.heard.map(({ sequence }) => sequence);
    expect([(two! - one!) >>> 0, (three! - two!) >>> 0]).toEqual([1, 1]);
    expect(statSync(state[1]!).mode & 0o777).toBe(0o600);
    expect(parseState(readFileSync(state[1]!, 'utf8')).serial).toBe(TERMINAL.serial);
    const other = await emulate('login', ...state, '--uplink', 'another', '--imsi', '460009999900001');
    expect([other.code, other.err]).toEqual([2, expect.stringMatching(/another value than --imsi:/)]);
    expect(other.err).not.toContain('up-secret');
  });

  const REFUSED: [what: string, answering: Answering, says: RegExp][] = [
    [
      'AUTH_FAILED',
      (asked) => [unsignedAnswer(asked, RESULT.AUTH_FAILED)],
      /AUTH_FAILED: unknown serial, .*try again later/,
    ],
    [
      'SUSPENDED',
      (asked) => [signedAnswer(TERMINAL, asked, { result: RESULT.SUSPENDED })],
      /SUSPENDED: terminal is suspended/,
    ],
    ['BUSY for a year', (asked) => [unsignedAnswer(asked, RESULT.BUSY, 0xffffffff)], /BUSY: .*in 900 s/],
    [
      'wrong digest',
      (asked) => [signedAnswer(TERMINAL, asked, { password: Buffer.from('x'), tlvs: sessionTlvs() })],
      /cannot be trusted: its digest is wrong/,
    ],
    [
      'other suite',
      (asked) => [signedAnswer(TERMINAL, asked, { suite: 1, tlvs: sessionTlvs() })],
      /cannot be trusted: it is not in the digest suite/,
    ],
    ['silence', () => undefined, /no answer within 0.5 s/],
    ['no key', (asked) => [signedAnswer(TERMINAL, asked, { tlvs: sessionTlvs() })], /no session key/],
  ];
  test.each(REFUSED)('%s: exit 1 and one line that says why', async (what, answering, says) => {
    await serve(answering);
    const { code, out, err } = await emulate(
      'login',
      ...DEVICE,
      '--key',
      '--json',
      '--timeout',
      what === 'silence' ? '0.5' : '60',
    );
    expect([code, err]).toEqual([1, expect.stringMatching(says)]);
    expect(err.trim().split('\n')).toHaveLength(1);
    expect(out).not.toContain('"result":"OK","session_id"');
  });

  test('wrong usage is exit 2, before anything is sent', async () => {
    await serve(wellBehaved(TERMINAL));
    const runs = await Promise.all([
      emulate('login', ...IDENTITY),
      emulate('login', ...IDENTITY, ...PASSWORDS, '--key'),
      emulate('login', ...DEVICE, '--suite', '3'),
      emulate('login', ...DEVICE, '--imei', '123'),
      emulate('login', ...DEVICE, '--uplink', '\\xabc'),
      m2m(['emulate']),
    ]);
    expect(runs.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(runs[0].err).toContain('--uplink --downlink');
    expect(gateway.heard).toEqual([]);
  });

  test('a broken state file is named with its field', async () => {
    await serve(wellBehaved(TERMINAL));
    const file = join(folder, 'device.json');
    writeFileSync(file, '{"format": 1}');
    const { code, err } = await emulate('login', '--state', file);
    expect([code, err]).toEqual([1, expect.stringContaining(`state file ${file}: field serial`)]);
  });
});

/** Ends by SIGTERM as soon as `enough` of an event are there. */
const runUntil = (event: string, enough: number, ...args: string[]) =>
  m2m(
    [
      'emulate',
      'run',
      '--connect',
      `127.0.0.1:${gateway.port}`,
      '--timeout',
      '60',
      ...DEVICE,
      '--json',
      ...args,
    ],
    (out, kill) => {
      if (out.split(`"event":"${event}","result":"OK"`).length > enough) kill('SIGTERM');
    },
  );

describe('run', () => {
  test('beats, and ends by a signal with LOGOUT', async () => {
    await serve(wellBehaved(TERMINAL));
    const { code, out, err } = await runUntil('heartbeat', 3, '--heartbeat', '0.1', '--logout');
    expect([code, err]).toEqual([0, '']);
    expect(events(out, 'logout')).toMatchObject([{ result: 'OK' }]);
  });

  test('--for ends it, at the interval that the gateway told', async () => {
    await serve(wellBehaved(TERMINAL, 1));
    // The time counts from the start of the process, and how long a login takes is the machine's affair.
    for (const time of [2.5, 10, 40, 200]) {
      const { code, out } = await emulate('run', ...DEVICE, '--for', String(time), '--json');
      if (events(out, 'heartbeat').length === 0 && time < 200) continue;
      expect(code).toBe(0);
      expect(events(out, 'heartbeat').length).toBeGreaterThanOrEqual(1);
      return;
    }
  });

  test('superseded: stops with exit 1', async () => {
    const behaved = wellBehaved(TERMINAL);
    await serve((asked, socket, n) => [...(behaved(asked, socket, n) ?? []), disconnect(TERMINAL, 1)]);
    const { code, err } = await emulate('run', ...DEVICE);
    expect([code, err]).toEqual([1, expect.stringMatching(/a newer login of the same terminal/)]);
  });

  test('shutting down: comes back after RETRY_AFTER with a new frame', async () => {
    const behaved = wellBehaved(TERMINAL);
    const times: number[] = [];
    await serve((asked, socket, n) => {
      times.push(Date.now());
      const frames = behaved(asked, socket, n) ?? [];
      return n === 1 ? [...frames, disconnect(TERMINAL, 4, 400)] : frames;
    });
    const { code, out } = await runUntil('login', 2);
    expect(code).toBe(0);
    expect(events(out, 'login')).toHaveLength(2);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(390);
    expect(gateway.heard[1]!.sequence).not.toBe(gateway.heard[0]!.sequence);
  });

  test('a lost connection and BUSY are followed by another try', async () => {
    const behaved = wellBehaved(TERMINAL);
    await serve((asked, socket, n) => {
      if (n === 1) setTimeout(() => socket.destroy(), 100);
      return n === 2 ? [unsignedAnswer(asked, RESULT.BUSY, 100)] : behaved(asked, socket, n);
    });
    const { code, out } = await runUntil('login', 2);
    expect(code).toBe(0);
    expect(events(out, 'login').map(({ result }) => result)).toEqual(['OK', 'BUSY', 'OK']);
  });

  test('a first login that fails is told at once; time that ends without a session is a failure', async () => {
    await serve((asked) => [unsignedAnswer(asked, RESULT.AUTH_FAILED)]);
    expect(await emulate('run', ...DEVICE)).toMatchObject({ code: 1 });
    await gateway.stop();
    await serve((asked) => [unsignedAnswer(asked, RESULT.BUSY, 60_000)]);
    const { code, err } = await emulate('run', ...DEVICE, '--for', '0.5');
    expect([code, err]).toEqual([1, expect.stringContaining('not logged in')]);
  });
});
