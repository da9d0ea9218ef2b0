import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newState, stateText } from '../../src/terminal/state';
import { events, m2m, requireBuild } from '../support/cli';
import { buildFrame, SUITE, TAG, type Terminal } from '../support/oracle';
import { bytesOf, terminalOf, VARIANTS, vector, vectors } from '../support/vectors';
import {
  securityConfig,
  securityConfigAnswer,
  securityConfigPlain,
  wmmpHeartbeat,
  wmmpLogin,
  wmmpLoginAnswer,
  wmmpLogout,
} from '../support/wmmpOracle';

const [variant] = VARIANTS;
const login = vector('LOGIN explicit timestamp, identity claimed, key asked', variant);
const compact = vector('LOGIN implicit timestamp, compact', variant);
const answer = vector('LOGIN response OK with session key', variant);
const { terminal } = login;
const UPLINK = ['--uplink', `\\x${terminal.uplinkPassword}`];
const IDENTITY = ['--imei', terminal.imei, '--imsi', terminal.imsi];
let folder: string;

beforeAll(() => {
  requireBuild('terminal', 'terminal/wmmp', 'protocol', 'protocol/wmmp', 'cli');
  folder = mkdtempSync(join(tmpdir(), 'inspect-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const inspect = (...args: string[]) => m2m(['inspect', ...args]);
const stored = (name: string, content: string | Buffer) => {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
};

test('shows a frame field by field, secrets by their size', async () => {
  const { code, out, err } = await inspect(login.hex);
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^ +28 +0xf001 +TIMESTAMP +4 +1800000007 \(2027-01-15T08:00:07Z\)$/m);
  expect(out).toMatch(/^ +36 +0xe00e +IMEI +15 +868123000000019$/m);
  expect(out).toMatch(/^ +110 +0xe021 +DIGEST +16 +\(secret of 16 bytes\)$/m);
  expect(out).not.toContain(login.hex.slice(-32));
});

test('checks the digests, and says so where they are wrong', async () => {
  const good = await inspect(login.hex, ...UPLINK, '--base-key', `\\x${terminal.baseKey}`);
  expect([good.code, good.out]).toEqual([
    0,
    expect.stringContaining(
      'digest good under timestamp 1800000007 (2027-01-15T08:00:07Z); BASE_KEY_DIGEST good',
    ),
  ]);
  expect(good.out).toContain(login.hex.slice(-32));
  const other = await inspect(login.hex, '--uplink', 'other');
  expect([other.code, other.err]).toEqual([1, 'm2m: a digest is wrong\n']);
  const key = await inspect(login.hex, ...UPLINK, '--base-key', '0123456789abcdef');
  expect([key.code, key.out]).toEqual([1, expect.stringContaining('BASE_KEY_DIGEST WRONG')]);
});

test('tries the minutes around --at where the frame has no timestamp', async () => {
  const at = (seconds: number) => inspect(compact.hex, ...UPLINK, ...IDENTITY, '--at', String(seconds));
  const [before, after, late] = await Promise.all([at(1_799_999_950), at(1_800_000_119), at(1_800_000_120)]);
  expect([before.code, after.code, late.code]).toEqual([0, 0, 1]);
  expect(after.out).toContain('good under timestamp 1800000000');
});

test('takes all secrets from a state file, for a stream of several frames in a file', async () => {
  const state = stored('state.json', stateText(newState(terminalOf(login), 1)));
  const stream = stored('stream.bin', Buffer.concat([bytesOf(login), bytesOf(answer)]));
  const { code, out } = await inspect(stream, '--state', state, '--json');
  expect(code).toBe(0);
  expect(events(out)).toMatchObject([
    {
      start: 0,
      direction: 'up',
      command: 'LOGIN',
      fault: null,
      digest: { verdict: 'good', base_key_digest: 'good' },
    },
    { start: 130, direction: 'down', result: 'OK', fault: null, digest: { verdict: 'good' } },
  ]);
});

test('takes hexadecimal as people write it, on the command line and in a file', async () => {
  const colons = login.hex.replace(/../g, '$&:').slice(0, -1);
  const words = login.hex.match(/.{1,8}/g)!.map((word) => `0x${word.slice(0, 2)} ${word.slice(2)}`);
  const runs = [inspect(colons), inspect(...words), inspect(stored('frame.hex', `${colons}\n`))];
  for (const { code, out } of await Promise.all(runs))
    expect([code, out]).toEqual([0, expect.stringContaining('fw 2.1.0')]);
});

test('what is neither hexadecimal nor a file is wrong usage', async () => {
  const runs = await Promise.all([
    inspect('nowhere.bin'),
    inspect('abc'),
    inspect(''),
    inspect(login.hex, ...UPLINK.slice(0, 1)),
  ]);
  expect(runs.map(({ code }) => code)).toEqual([2, 2, 2, 2]);
  expect(runs.map(({ err }) => err.trim().split('\n').length)).toEqual([1, 1, 1, 1]);
});

test('secrets that leave nothing to check are wrong usage', async () => {
  const { code, err } = await inspect(compact.hex, ...UPLINK);
  expect([code, err]).toEqual([2, expect.stringContaining('IMEI and IMSI are not given')]);
});

test('explains what is malformed by offset, and shows what stands before it', async () => {
  const { code, out, err } = await inspect(vector('digest not last').hex);
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/offset 28: digest must be the last TLV \(digest-not-last\)/),
  ]);
  expect(out).toMatch(/T100-X/);
  const cut = await inspect('--json', login.hex.slice(0, 120));
  expect(cut.code).toBe(1);
  expect(events(cut.out)[0]).toMatchObject({
    fault: { name: 'frame-incomplete', offset: 60 },
    tlvs: [{ name: 'TIMESTAMP' }, { name: 'IMEI' }],
  });
});

test('every bad vector that is malformed exits 1, with the direction given', async () => {
  const bad = vectors.filter(({ what, result }) => what === 'bad request' && result !== 'NOT_LOGGED_IN');
  const stream = bad.filter(({ hex }) => hex.length / 2 === parseInt(hex.slice(0, 4), 16));
  expect(stream.length).toBeGreaterThan(20);
  const { out } = await inspect('--direction', 'up', '--json', stream.map(({ hex }) => hex).join(' '));
  expect(events(out).map(({ fault }) => fault)).toEqual(
    stream.map(() => expect.objectContaining({}) as unknown),
  );
});

test('a direction that does not fit is a fault', async () => {
  const { code, err } = await inspect(login.hex, '--direction', 'down');
  expect([code, err]).toEqual([1, expect.stringContaining('command-not-downlink')]);
});

describe('WMMP 3.0', () => {
  const KNOWN =
    '003c000100000001030000004130304d533830313133393030303253313233343536373800000000e0210010d9cbd6c3f3e4b84cef34283b265cb771';
  const owner: Terminal = {
    serial: 'A00MS8011390002S',
    imei: '354494040518570',
    imsi: '460020084678120',
    uplinkPassword: Buffer.from('vkwF2SJa'),
    downlinkPassword: Buffer.from('Uo3aHCbG'),
    baseKey: Buffer.from('0123456789abcdef01234567'),
  };
  const ownerKnows = ['--imei', owner.imei, '--imsi', owner.imsi, '--uplink', 'vkwF2SJa'];
  const AT = 1_800_000_000;

  test('is shown field by field and checked, without a timestamp where it is a LOGIN', async () => {
    const { code, out, err } = await inspect(KNOWN, ...ownerKnows);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^WMMP 3\.0: LOGIN, terminal to gateway$/m);
    expect(out).toMatch(/^ +10 +security +1 +0x00$/m);
    expect(out).toMatch(/^ +28 +SOFTWARE_VERSION +8 +12345678$/m);
    expect(out).toMatch(/^ +36 +SETTINGS_CRC +4 +00000000$/m);
    expect(out).toMatch(/^ +40 +0xe021 +DIGEST +16 +d9cbd6c3f3e4b84cef34283b265cb771$/m);
    expect(out).toMatch(/^digest good under timestamp 0$/m);
  });

  test('the frames of one connection are checked under the timestamp that the LOGIN was answered with', async () => {
    const key = Buffer.from('fedcba9876543210fedcba98');
    const plain = securityConfigPlain({ uplinkPassword: Buffer.from('NEWuplnk') });
    const frames = [
      wmmpLogin(owner, { keyProof: true }),
      wmmpLoginAnswer(owner, { sequence: 1 }, { timestamp: AT, sessionKey: key }),
      wmmpHeartbeat(owner),
      securityConfig(owner, AT, key, plain),
      securityConfigAnswer(owner, AT, 1, { result: 2, tags: [0xe025] }),
    ];
    const device = stored('wmmp.json', stateText(newState({ ...owner, suite: 2 }, 1)));
    const file = stored('wmmp.bin', Buffer.concat(frames));
    const { code, out } = await inspect(file, '--state', device, '--json');
    expect(code).toBe(0);
    const good = { verdict: 'good', timestamp: AT };
    expect(events(out)).toMatchObject([
      { dialect: 'WMMP 3.0', security: 0xe0, digest: { verdict: 'good', base_key_digest: 'good' } },
      { direction: 'down', response: true, digest: good, fixed: [{}, { name: 'TIMESTAMP', value: AT }] },
      { command: 'HEARTBEAT', digest: { verdict: 'unchecked', lacks: false } },
      {
        command: 'SECURITY_CONFIG',
        direction: 'down',
        digest: good,
        tlvs: [{ name: 'BODY_CIPHERTEXT' }, {}],
      },
      { direction: 'up', response: true, digest: good, fixed: [{}, { name: 'REST', value: 'e025' }] },
    ]);
  });

  test('a frame alone needs the timestamp', async () => {
    const logout = wmmpLogout(owner, AT, { reason: 9 }).toString('hex');
    const [without, given] = await Promise.all([
      inspect(logout, ...ownerKnows),
      inspect(logout, ...ownerKnows, '--timestamp', String(AT)),
    ]);
    expect([without.code, without.err]).toEqual([2, expect.stringContaining('give --timestamp')]);
    expect(given.code).toBe(0);
    expect(given.out).toMatch(/^ +28 +REASON +1 +9 \(a login under new credentials follows\)$/m);
    expect(given.out).toContain('digest good under timestamp 1800000000 (');
  });
});

test('never throws, whatever the bytes', async () => {
  const frame = buildFrame({
    command: 0x7fff,
    serial: Buffer.alloc(16, 0xff),
    suite: SUITE.MD5,
    tlvs: [[TAG.IMEI, Buffer.alloc(3)]],
  });
  const { code, err } = await inspect(frame.toString('hex'));
  expect([code, err.split('\n').length]).toEqual([1, 2]);
});
