/** `m2m inspect --pcap` on captures made by hand. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newState, stateText } from '../../src/terminal/state';
import { ipv4, pcap, SYN, tcp } from '../support/capture';
import { events, m2m, requireBuild } from '../support/cli';
import { testHome } from '../support/gateway';
import { heartbeat } from '../support/oracle';
import { local, proxied } from '../support/proxy';
import { terminalOf, VARIANTS, vector, vectors } from '../support/vectors';
import { wmmpLogin, wmmpLoginAnswer, wmmpLogout } from '../support/wmmpOracle';

const SCRIPT = join(__dirname, '..', '..', 'scripts', 'wireshark', 'm2m.lua');

describe('m2m inspect --pcap', () => {
  beforeAll(() => requireBuild('terminal', 'terminal/capture', 'terminal/wmmp', 'protocol', 'cli'));

  test('exits 0 where nothing is malformed; a digest without TIMESTAMP is tried at the time of its packet', async () => {
    const { hex, terminal: owner } = vector('LOGIN implicit timestamp, compact', VARIANTS[0]);
    const payload = Buffer.from(hex, 'hex');
    const segments = [tcp(0, { flags: SYN }), tcp(0, { payload }), tcp(payload.length + 10, { payload })];
    const folder = testHome();
    const path = join(folder.directory, 'gap.pcap');
    writeFileSync(
      path,
      pcap(segments.map((segment) => ({ bytes: ipv4(segment), at: 1_799_999_950_000_000 }))),
    );
    const secrets = ['--uplink', `\\x${owner.uplinkPassword}`, '--imei', owner.imei, '--imsi', owner.imsi];
    const { code, out, err } = await m2m(['inspect', '--pcap', path, ...secrets]);
    folder.remove();
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain(
      '2027-01-15T07:59:10.000000Z connection 1, 10.0.0.1:40000 -> 10.0.0.2:7750, byte 0',
    );
    expect(out).toContain('digest good under timestamp 1800000000');
    expect(out).toContain('10 bytes are missing in the capture; the 48 bytes behind them are not read');
  });

  test('frames of WMMP are checked under the timestamp of the login on their connection', async () => {
    const owner = terminalOf(vectors[0]!);
    const [login, logout] = [wmmpLogin(owner), wmmpLogout(owner, 1_800_000_000)];
    const answer = wmmpLoginAnswer(owner, { sequence: 1 }, { timestamp: 1_800_000_000 });
    const segments = [
      tcp(0, { flags: SYN }),
      tcp(0, { payload: login }),
      tcp(0, { payload: answer, up: false }),
      tcp(0, { payload: logout, terminalPort: 40001 }),
      tcp(login.length, { payload: logout }),
    ];
    const folder = testHome();
    const path = join(folder.directory, 'wmmp.pcap');
    writeFileSync(path, pcap(segments.map((segment, i) => ({ bytes: ipv4(segment), at: 1e15 + i }))));
    const device = join(folder.directory, 'device.json');
    writeFileSync(device, stateText(newState({ ...owner, suite: 2 }, 1)));
    const { code, out } = await m2m(['inspect', '--pcap', path, '--state', device, '--json']);
    folder.remove();
    expect(code).toBe(0);
    expect(events(out)).toMatchObject([
      { connection: 1, command: 'LOGIN', digest: { verdict: 'good', timestamp: 0 } },
      { connection: 1, command: 'LOGIN', response: true, digest: { verdict: 'good' } },
      { connection: 2, command: 'LOGOUT', digest: { verdict: 'unchecked', lacks: true } },
      { connection: 1, command: 'LOGOUT', digest: { verdict: 'good', timestamp: 1_800_000_000 } },
    ]);
  });

  test('digests of other terminals are not called wrong where it is said whose the secrets are', async () => {
    const { hex, terminal: owner } = vector('LOGIN implicit timestamp, compact', VARIANTS[0]);
    const payload = Buffer.from(hex, 'hex');
    const foreign = heartbeat(
      { ...terminalOf(vectors[0]!), serial: 'OTHER', uplinkPassword: Buffer.from('its own') },
      { sequence: 1 },
    );
    const folder = testHome();
    const path = join(folder.directory, 'two.pcap');
    const segments = [tcp(0, { payload }), tcp(0, { payload: foreign, terminalPort: 40001 })];
    writeFileSync(
      path,
      pcap(segments.map((segment) => ({ bytes: ipv4(segment), at: 1_799_999_950_000_000 }))),
    );
    const secrets = ['--uplink', 'another', '--imei', owner.imei, '--imsi', owner.imsi];
    const judged = async (...args: string[]) => {
      const { code, out } = await m2m(['inspect', '--pcap', path, '--json', ...args]);
      return [code, ...events(out).map(({ digest }) => (digest as { verdict: string }).verdict)];
    };
    const right = ['--uplink', `\\x${owner.uplinkPassword}`, ...secrets.slice(2)];
    expect(await judged(...right)).toEqual([1, 'good', 'wrong']);
    expect(await judged(...right, '--serial', owner.serial)).toEqual([0, 'good', 'unchecked']);
    expect(await judged(...secrets, '--serial', owner.serial)).toEqual([1, 'wrong', 'unchecked']);
    folder.remove();
  });

  test('a header of the PROXY protocol is told as such', async () => {
    const { hex } = vector('LOGIN implicit timestamp, compact', VARIANTS[0]);
    const payload = Buffer.concat([proxied('203.0.113.7', 40123), Buffer.from(hex, 'hex')]);
    const check = tcp(0, { payload: local(), terminalPort: 40001 });
    const folder = testHome();
    const path = join(folder.directory, 'proxy.pcap');
    const segments = [tcp(0, { flags: SYN }), tcp(0, { payload }), check];
    writeFileSync(path, pcap(segments.map((segment, i) => ({ bytes: ipv4(segment), at: 1e15 + i }))));
    const shown = await m2m(['inspect', '--pcap', path]);
    const told = events((await m2m(['inspect', '--pcap', path, '--json'])).out);
    folder.remove();
    expect([shown.code, shown.err]).toEqual([0, '']);
    expect(shown.out).toMatch(/byte 0\nPROXY protocol header of 28 bytes, for 203\.0\.113\.7:40123\n/);
    expect(shown.out).toMatch(/byte 28\nLOGIN, terminal to gateway\n/);
    expect(shown.out).toContain('PROXY protocol header of 16 bytes, for the load balancer itself');
    expect(told).toMatchObject([
      { connection: 1, proxy: { start: 0, length: 28, source: '203.0.113.7:40123' } },
      { connection: 1, command: 'LOGIN', fault: null },
      { connection: 2, proxy: { start: 0, length: 16, source: null } },
    ]);
  });

  test('a file that is none is one clear error', async () => {
    const { code, out, err } = await m2m(['inspect', '--pcap', SCRIPT]);
    expect([code, out]).toEqual([1, '']);
    expect(err).toBe(`m2m: ${SCRIPT}: neither pcap nor pcapng: it begins with 2d2d2057\n`);
  });

  test('wrong usage', async () => {
    const runs = await Promise.all([
      m2m(['inspect']),
      m2m(['inspect', '--pcap', SCRIPT, '00']),
      m2m(['inspect', '--port', '1', '00']),
      m2m(['inspect', '--pcap', SCRIPT, '--port', '65536']),
    ]);
    expect(runs.map(({ code }) => code)).toEqual([2, 2, 2, 2]);
  });
});
