import { Command } from 'commander';
import { register } from '../../src/cli/emulate';
import { events, m2m, requireBuild } from '../support/cli';
import { FakeGateway, TERMINAL as VERSION_4_TERMINAL, type Answering } from '../support/fakeGateway';
import { u8, type Terminal } from '../support/oracle';
import { securityConfig, WMMP, wmmpAnswer, wmmpLoginAnswer, type ParsedWmmp } from '../support/wmmpOracle';

const TERMINAL: Terminal = { ...VERSION_4_TERMINAL, baseKey: Buffer.from('0123456789abcdef01234567') };
const DEVICE = [
  ...['--serial', TERMINAL.serial, '--imei', TERMINAL.imei, '--imsi', TERMINAL.imsi],
  ...['--uplink', 'up-secret', '--downlink', 'down-secret'],
];
const BASE_KEY = ['--base-key', TERMINAL.baseKey.toString()];
const KEY = Buffer.from('fedcba9876543210fedcba98');
const AT = 1_800_000_000;
let gateway: FakeGateway<ParsedWmmp> | undefined;

beforeAll(() => requireBuild('terminal', 'terminal/wmmp', 'protocol', 'protocol/wmmp', 'cli'));
afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
});

const behaved: Answering<ParsedWmmp> = (asked) =>
  asked.command === WMMP.LOGIN
    ? [wmmpLoginAnswer(TERMINAL, asked, { timestamp: AT, sessionKey: KEY })]
    : [wmmpAnswer(TERMINAL, asked)];

async function emulate(
  answering: Answering<ParsedWmmp>,
  [command, ...how]: readonly [string, ...string[]],
  watch?: Parameters<typeof m2m>[1],
) {
  gateway = await FakeGateway.startWmmp(answering);
  const where = ['--connect', `127.0.0.1:${gateway.port}`, '--timeout', '60'];
  return m2m(['emulate', command, ...where, ...DEVICE, ...BASE_KEY, '--wmmp', '--json', ...how], watch);
}

test('login shows each frame in its own words, and the session key', async () => {
  const { code, out, err } = await emulate(behaved, [
    'login',
    '--hex',
    '--key',
    '--firmware',
    'fw 1',
    '--logout',
  ]);
  expect([code, err]).toEqual([0, '']);
  expect(events(out).map(({ event, command }) => command ?? event)).toEqual([
    ...['LOGIN', 'LOGIN', 'login', 'LOGOUT', 'LOGOUT', 'logout'],
  ]);
  expect(events(out, 'frame')[0]).toMatchObject({
    dialect: 'WMMP 3.0',
    security: 0xe0,
    fixed: [{ offset: 28, name: 'SOFTWARE_VERSION', value: 'fw 1' }, { name: 'SETTINGS_CRC' }],
    tlvs: [{ name: 'BASE_KEY_DIGEST', value: null }, { name: 'DIGEST' }],
    hex: gateway!.heard[0]!.bytes.toString('hex'),
  });
  expect(events(out, 'login')).toEqual([
    { event: 'login', result: 'OK', timestamp: AT, session_key: KEY.toString('hex') },
  ]);
});

test('a terminal that stays comes back after a lost connection and a refusal', async () => {
  const refusal = Buffer.from('0200000000', 'hex');
  const { code, out } = await emulate(
    (asked, socket, n) => {
      if (n === 1) setTimeout(() => socket.destroy(), 100);
      return n === 2 ? [wmmpAnswer(TERMINAL, asked, refusal)] : behaved(asked, socket, n);
    },
    ['run', '--heartbeat', '0.1'],
    (shown, kill) => {
      const sinceLogins = shown.split('"event":"login"').slice(1);
      if (sinceLogins.length >= 3 && sinceLogins.at(-1)!.includes('"event":"heartbeat"')) kill('SIGTERM');
    },
  );
  expect(code).toBe(0);
  expect(events(out, 'login').map(({ result }) => result)).toEqual(['OK', 2, 'OK']);
  expect(events(out, 'lost')).toHaveLength(1);
});

test('change says so where the platform sends nothing', async () => {
  const { code, err } = await emulate(behaved, ['change', '--timeout', '20']);
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/no SECURITY_CONFIG came within 20 s: .* it wishes none/),
  ]);
});

test('change says so where it cannot take what the platform sends', async () => {
  const config = securityConfig(TERMINAL, AT, KEY, Buffer.concat([u8(3)]));
  const { code, out, err } = await emulate(
    (asked, socket, n) => [...behaved(asked, socket, n)!, ...(asked.command === WMMP.LOGIN ? [config] : [])],
    ['change'],
  );
  expect([code, err]).toEqual([1, 'm2m: SECURITY_CONFIG is not taken: it is none that sets values\n']);
  expect(events(out, 'change')).toEqual([{ event: 'change', refused: 'bad-values', tags: [] }]);
});

const WRONG: [args: string, says: RegExp][] = [
  ['login --wmmp --suite 1', /'--wmmp' cannot be used with option '--suite/],
  ['login --wmmp --mutual', /'--wmmp' cannot be used with option '--mutual/],
  ['login --wmmp --implicit-time', /'--wmmp' cannot be used with option '--implicit-time/],
  ['login --wmmp --hardware-id x', /'--wmmp' cannot be used with option '--hardware-id/],
  [`login --wmmp --packet ${'00'.repeat(33)}`, /'--wmmp' cannot be used with option '--packet/],
  ['change --wmmp --targets all', /'--wmmp' cannot be used with option '--targets/],
  ['change --wmmp --delivery sms', /'--wmmp' cannot be used with option '--delivery/],
  ['change --wmmp --sms-text x', /'--wmmp' cannot be used with option '--sms-text/],
  [
    'change --wmmp --crash-after change-sent',
    /with --wmmp it must be one of config-stored, config-acknowledged, logout-answered, login-sent, login-answered$/,
  ],
  ['change --crash-after login-sent', /without --wmmp it must be one of change-sent, .*confirm-settled$/],
  ['login --wmmp --firmware 123456789', /--firmware: with --wmmp it must have up to 8 characters/],
  ['login --wmmp --key', /--key needs a base key: give --base-key/],
  ['login --wmmp --key --base-key 0123456789abcdef', /--key needs a base key of 24 bytes, not 16/],
  ['login --key --base-key 0123456789abcdef01234567', /--key needs a base key of 16 or 32 bytes, not 24/],
  ['change --wmmp', /change --wmmp needs a base key/],
];
test.each(WRONG)('%s is wrong usage, before anything is sent', async (args, says) => {
  let said = '';
  const program = new Command('m2m')
    .exitOverride()
    .configureOutput({ writeErr: (text) => void (said += text) });
  register(program);
  // Nobody listens there: what gets so far fails in another way.
  const argv = ['emulate', ...args.split(' '), ...DEVICE, '--connect', '127.0.0.1:1'];
  const error = await program.parseAsync(argv, { from: 'user' }).then(
    () => undefined,
    (thrown: Error & { exitCode?: number; code?: string }) => thrown,
  );
  expect(`${said}${error?.message}`.trim()).toMatch(says);
  expect(error?.code === 'commander.conflictingOption' || error?.exitCode === 2).toBe(true);
});
