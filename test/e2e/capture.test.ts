/** A real session recorded by tshark, read by `m2m inspect --pcap` and by the Wireshark dissector. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { COMMANDS } from '../../src/protocol/commands';
import { FIELD_NAMES, wireName } from '../../src/protocol/tags';
import { describe as describeFrame } from '../../src/terminal/describe';
import { ipv4, pcap, SYN, tcp } from '../support/capture';
import { events, m2m, requireBuild } from '../support/cli';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { local, proxied } from '../support/proxy';
import { heartbeat, loginForKey, RESULT, type Terminal, type Tlv } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { terminalOf, vectors } from '../support/vectors';
import { securityConfigAnswer, uplink, WMMP, WMMP_TAG, wmmpFrame } from '../support/wmmpOracle';

const SCRIPT = join(__dirname, '..', '..', 'scripts', 'wireshark', 'm2m.lua');
const PATIENCE_MS = 300_000;

// -L opens the interface, which takes more than having tshark.
const there = spawnSync('tshark', ['-i', 'lo', '-L']).status === 0;
const lacking = 'tshark is not installed, or may not capture: apt-get install tshark, and run as root';
if (!there && process.env['CI']) throw new Error(lacking);
if (!there) process.stderr.write(`${lacking}; tests that need it are skipped\n`);
const describeWithTshark = there ? describe : describe.skip;

const tshark = (...args: readonly string[]): string =>
  execFileSync('tshark', ['-X', `lua_script:${SCRIPT}`, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
  });

let database: TestDatabase;
let home: TestHome;
let gateway: GatewayProcess;
let operator: Operator;
let terminal: Terminal;
let file: string;
let port: string;
let recorder: ChildProcess | undefined;

/** Records what the gateway says and is told while `talk` runs, until tshark has seen `last`. */
async function record(talk: () => Promise<void>, last: string): Promise<void> {
  const use = ['-X', `lua_script:${SCRIPT}`, '-d', `tcp.port==${port},m2mgw`];
  const filter = ['-i', 'lo', '-f', `tcp port ${port}`];
  // -P and -l: one line a packet, as soon as it is in the file.
  recorder = spawn('tshark', [...use, ...filter, '-w', file, '-P', '-l'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => recorder!.once('close', () => resolve()));
  let [out, err] = ['', ''];
  recorder.stdout!.on('data', (chunk) => (out += String(chunk)));
  recorder.stderr!.on('data', (chunk) => (err += String(chunk)));
  const until = async (seen: () => boolean, meanwhile: () => Promise<void>) => {
    for (const deadline = Date.now() + PATIENCE_MS; !seen(); await meanwhile()) {
      if (Date.now() > deadline || recorder!.exitCode !== null) throw new Error(`tshark: ${out}${err}`);
    }
  };
  await until(
    () => out !== '',
    async () => {
      (await RawTerminal.open(gateway)).close();
      await sleep(100);
    },
  );
  await talk();
  await until(
    () => out.includes(last),
    () => sleep(100),
  );
  recorder.kill('SIGINT');
  await ended;
}

const sequenceOf = { login: 7, heartbeat: 8, malformed: 9 } as const;

async function talk(): Promise<void> {
  const socket = await RawTerminal.open(gateway);
  const firmware = { tlvs: [[0xf002, Buffer.from('fw 1.0')]] as const };
  const login = loginForKey(terminal, { sequence: sequenceOf.login, claim: true, ...firmware });
  expect((await socket.ask(login)).result).toBe(RESULT.OK);
  const bad = heartbeat(terminal, { sequence: sequenceOf.malformed });
  bad.writeUInt16BE(400, 30);
  socket.send(heartbeat(terminal, { sequence: sequenceOf.heartbeat }), bad);
  expect((await socket.next()).result).toBe(RESULT.OK);
  expect((await socket.next()).result).toBe(RESULT.MALFORMED);
  await socket.end();
  socket.close();
}

describeWithTshark('a recorded session', () => {
  beforeAll(async () => {
    requireBuild('terminal', 'terminal/capture', 'terminal/wmmp', 'protocol', 'cli');
    database = await createDatabase();
    home = testHome();
    gateway = await startGateway({ databaseUrl: database.url, home });
    operator = await Operator.connect(database.url);
    terminal = await operator.provision();
    port = String(gateway.port);
    file = join(home.directory, 'session.pcapng');
    await record(talk, 'HEARTBEAT response MALFORMED');
  });

  afterAll(async () => {
    recorder?.kill('SIGKILL');
    await operator?.close();
    await gateway?.stop();
    await database?.drop();
    home?.remove();
  });

  test('is shown frame by frame, the malformed one explained, with exit code 1', async () => {
    const { code, out, err } = await m2m(['inspect', '--pcap', file, '--port', port]);
    expect(code).toBe(1);
    expect(err).toMatch(/malformed frame of connection \d+ at byte \d+: offset 28: .*\(tlv-overrun\)\n$/);
    const headings = out.match(/^[A-Z_]+( response)?, .*$/gm);
    expect(headings).toEqual([
      'LOGIN, terminal to gateway',
      'LOGIN response, gateway to terminal',
      'HEARTBEAT, terminal to gateway',
      'HEARTBEAT, terminal to gateway',
      'HEARTBEAT response, gateway to terminal',
      'HEARTBEAT response, gateway to terminal',
    ]);
    expect(out).toMatch(
      new RegExp(`^20.*Z connection \\d+, 127.0.0.1:\\d+ -> 127.0.0.1:${port}, byte 0$`, 'm'),
    );
    expect(out).toContain('fw 1.0');
    expect(out).toContain('malformed at offset 28: 0xf001: TLV runs past the end of the frame (tlv-overrun)');
  });

  test('is shown to programs too, with its digests checked', async () => {
    const secrets = [
      ['--uplink', `\\x${terminal.uplinkPassword.toString('hex')}`],
      ['--downlink', `\\x${terminal.downlinkPassword.toString('hex')}`],
      ['--base-key', `\\x${terminal.baseKey.toString('hex')}`],
      ['--imei', terminal.imei],
      ['--imsi', terminal.imsi],
    ];
    const { out } = await m2m(['inspect', '--pcap', file, '--port', port, '--json', ...secrets.flat()]);
    const seen = events(out);
    expect(seen).toMatchObject([
      {
        command: 'LOGIN',
        response: false,
        sequence: 7,
        digest: { verdict: 'good', base_key_digest: 'good' },
      },
      { command: 'LOGIN', response: true, result: 'OK', digest: { verdict: 'good' } },
      { command: 'HEARTBEAT', response: false, sequence: 8, digest: { verdict: 'good' } },
      { command: 'HEARTBEAT', response: false, sequence: 9, fault: { name: 'tlv-overrun', offset: 28 } },
      { command: 'HEARTBEAT', response: true, result: 'OK', digest: { verdict: 'good' } },
      { command: 'HEARTBEAT', response: true, result: 'MALFORMED', fault: null },
    ]);
    const times = seen.map(({ time }) => time as string);
    expect(times).toEqual([...times].sort());
  });

  test('is dissected by tshark with names and values', () => {
    const out = tshark('-r', file, '-o', `m2mgw.port:${port}`, '-V', '-Y', 'm2mgw');
    expect(out).toContain('Command: LOGIN (0x0001)');
    expect(out).toContain('Command: HEARTBEAT (0x0003)');
    expect(out).toContain('Suite: HMAC-SHA-256 (2)');
    expect(out).toContain('Result: MALFORMED (7)');
    expect(out).toContain(`Serial: ${terminal.serial}`);
    expect(out).toContain(`IMEI: ${terminal.imei}`);
    expect(out).toMatch(/HEARTBEAT_INTERVAL: \d+ s/);
    expect(out).toMatch(/SESSION_KEY_REQUEST \(0xf003\), 0 bytes/);
    expect(out).toContain('Expert Info (Error/Malformed): TLV runs past the end of the frame');
  });

  test('can be asked for single fields', () => {
    const fields = ['m2mgw.sequence', 'm2mgw.tlv.imsi', 'm2mgw.malformed'].flatMap((name) => ['-e', name]);
    const use = ['-d', `tcp.port==${port},m2mgw`, '-Y', 'm2mgw.response == 0', '-T', 'fields'];
    const rows = tshark('-r', file, ...use, ...fields)
      .trim()
      .split('\n');
    // Two frames of one packet stand in one row.
    expect(rows).toEqual([`7\t${terminal.imsi}\t`, '8,9\t\ttlv-overrun']);
  });
});

describeWithTshark('the dissector on every vector', () => {
  /** Each frame on a connection of its own, which is tshark's stream of its index. */
  function dissect(frames: readonly Buffer[], ...args: readonly string[]): string {
    const packets = frames.flatMap((payload, i) => {
      const terminalPort = 20000 + i;
      return [tcp(0, { flags: SYN, terminalPort }), tcp(0, { payload, terminalPort })];
    });
    const folder = testHome();
    try {
      const path = join(folder.directory, 'vectors.pcap');
      writeFileSync(path, pcap(packets.map((segment, i) => ({ bytes: ipv4(segment), at: 1e15 + i }))));
      return tshark('-r', path, '-Y', 'm2mgw', ...args);
    } finally {
      folder.remove();
    }
  }

  const onWire = vectors
    .filter(({ what }) => what !== 'sms')
    .map(({ hex }) => Buffer.from(hex, 'hex'))
    .filter((bytes) => bytes.readUInt16BE(0) <= bytes.length);

  function rows(frames: readonly Buffer[], ...names: readonly string[]): Map<number, string[]> {
    const fields = ['tcp.stream', ...names].flatMap((name) => ['-e', name]);
    const lines = dissect(frames, '-T', 'fields', ...fields)
      .replace(/\n$/, '')
      .split('\n');
    return new Map(
      lines.map((line) => {
        const [stream, ...values] = line.split('\t');
        return [Number(stream), values] as const;
      }),
    );
  }

  test('finds the same TLVs and the same faults', () => {
    const found = rows(onWire, 'm2mgw.tag', 'm2mgw.malformed');
    // What it says of itself that it does not judge.
    const unjudged = ['tag-missing', 'tag-alone', 'tag-not-here', 'suite-unsigned', 'suite-on-unsigned'];
    for (const [i, bytes] of onWire.entries()) {
      const { frame, fault } = describeFrame(bytes, false, undefined);
      const [tags, malformed] = found.get(i) ?? [];
      const isJudged = fault !== undefined && !unjudged.includes(fault.name);
      if (isJudged) expect([i, malformed!.split(',')]).toEqual([i, expect.arrayContaining([fault.name])]);
      else expect([i, malformed, tags]).toEqual([i, '', frame!.tlvs.map(({ tag }) => tag).join(',')]);
    }
  });

  test('names every command and every TLV', () => {
    const out = dissect(onWire, '-V');
    for (const name of Object.keys(COMMANDS)) expect(out).toContain(`Command: ${name} (`);
    for (const name of FIELD_NAMES)
      expect(out).toMatch(new RegExp(`^ +Tag: 0x.* \\(${wireName(name)}\\)$`, 'm'));
    for (const name of FIELD_NAMES) expect(out).toMatch(new RegExp(`^ +${wireName(name)}(: .+)?$`, 'm'));
  });

  test('shows a header of the PROXY protocol as such, and the frames behind it', () => {
    const [first, second] = onWire as [Buffer, Buffer];
    const address = 'fd00:0:0:0:0:0:0:7';
    const frames = [
      Buffer.concat([proxied('203.0.113.7', 40123), first]),
      Buffer.concat([proxied(address, 9, Buffer.alloc(9)), second]),
      Buffer.concat([local(), first]),
      local(),
      first,
    ];
    const found = rows(frames, 'm2mgw.proxy.source', 'm2mgw.command', 'm2mgw.malformed');
    const command = (bytes: Buffer) => `0x${bytes.toString('hex', 2, 4)}`;
    expect(found).toEqual(
      new Map([
        [0, ['203.0.113.7:40123', command(first), '']],
        [1, ['[fd00::7]:9', command(second), '']],
        [2, ['', command(first), '']],
        [3, ['', '', '']],
        [4, ['', command(first), '']],
      ]),
    );
    expect(dissect(frames.slice(3, 4))).toContain('PROXY header for the load balancer itself');
  });

  test('reads WMMP its own way', () => {
    const version = Buffer.concat([Buffer.from('V1.00.01'), Buffer.alloc(4, 7)]);
    const key: Tlv = [WMMP_TAG.BASE_KEY_DIGEST, Buffer.alloc(16, 8)];
    const own: Tlv = [0x3006, Buffer.of(1, 2)];
    const owner = terminalOf(vectors[0]!);
    const login = uplink(owner, WMMP.LOGIN, 0, version, { tlvs: [own, key], security: 0xe0 });
    const answer = securityConfigAnswer(owner, 1, 5, { result: 2, tags: [0xe025] });
    const good = dissect([login, answer], '-V');
    expect(good).toContain('Version: 0x0300 (3.0)');
    expect(good).toMatch(
      /Security: 0xe0\n.*= Digest: True\n.*= Body encrypted, or one part of several: False/,
    );
    expect(good).toContain('Software version: V1.00.01');
    expect(good).toContain('CRC32 of the settings: 0x07070707');
    expect(good).toContain('unknown (0x3006), 2 bytes');
    expect(good).toContain(`BASE_KEY_DIGEST: ${'08'.repeat(16)}`);
    for (const frame of [login, answer]) {
      expect(good).toContain(`DIGEST: ${frame.subarray(-16).toString('hex')}`);
    }
    expect(good).toContain('Command: SECURITY_CONFIG (');
    expect(good).toMatch(/Result: 2\n +Rest: e025\n/);
    expect(good).not.toContain('[Malformed');
    const short = wmmpFrame({ command: WMMP.LOGIN, serial: 'M1', body: Buffer.alloc(3) });
    const found = rows([short, wmmpFrame({ command: 0x99, serial: 'M1' })], 'm2mgw.malformed');
    expect(found).toEqual(
      new Map([
        [0, ['body-too-short']],
        [1, ['command-unknown']],
      ]),
    );
  });
});
