/** Two-way login against a real gateway: both sides make sure of the other, and every single thing that can be wrong. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';
import { m2m } from '../support/cli';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import {
  mintPacket,
  packetKeyOf,
  proof,
  readChallenge,
  thirdCode,
  type ProofParts,
} from '../support/mutualOracle';
import { newTerminal, type Operator } from '../support/operator';
import {
  authChallenge,
  buildFrame,
  COMMAND,
  downlinkFlaw,
  heartbeat,
  login,
  now,
  RESPONSE,
  RESULT,
  SUITE,
  TAG,
  u32,
  unwrap,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';

const HARDWARE = Buffer.from('chip-0001');

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
});

afterAll(() => deployment?.close());

const open: RawTerminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

let sequence = 0;
const next = () => (sequence += 1);

async function dial(): Promise<RawTerminal> {
  const terminal = await RawTerminal.open(gateway);
  open.push(terminal);
  return terminal;
}

function packetFor({ serial, imei }: Terminal, hardwareId = HARDWARE, issuedAt = now()): Buffer {
  const { id, key } = packetKeyOf(deployment.home.keyFile);
  return mintPacket(key, id, { serial, imei, hardwareId, issuedAt });
}

/** Challenges the gateway, and gives what a right proof is made of. */
async function challenged(socket: RawTerminal, terminal: Terminal): Promise<ProofParts> {
  const nonce = randomBytes(16);
  const answer = await socket.ask(authChallenge(nonce)(terminal, { sequence: next() }));
  expect([answer.command, answer.result, answer.suite]).toEqual([
    COMMAND.AUTH_CHALLENGE | RESPONSE,
    0,
    SUITE.NONE,
  ]);
  const { serverNonce, shown, genuine } = readChallenge(terminal, nonce, answer);
  expect(genuine).toBe(true);
  return {
    hardwareId: HARDWARE,
    packet: packetFor(terminal),
    serverNonce,
    third: thirdCode(terminal.baseKey, shown),
  };
}

async function lastLogged(action: string, serial: string) {
  return gateway.logged((line) => line['event.action'] === action && line['device.id'] === serial);
}

describe.each([
  [SUITE.MD5, 16],
  [SUITE.HMAC, 16],
  [SUITE.MD5, 32],
  [SUITE.HMAC, 32],
])('suite %i, base key of %i bytes', (suite, baseKeySize) => {
  test('challenge, proof, session with its key, heartbeat', async () => {
    const terminal = await operator.provision({ leastLogin: 'mutual', baseKeySize });
    const socket = await dial();
    const parts = await challenged(socket, terminal);
    const frame = proof(parts)(terminal, { suite, sequence: next(), askKey: true, keyProof: true });
    const answer = await socket.ask(frame);
    expect(answer.result).toBe(RESULT.OK);
    expect(downlinkFlaw(answer, terminal, frame)).toBeUndefined();
    expect(unwrap(terminal.baseKey, answer.tlvs.get(TAG.SESSION_KEY)!)).toHaveLength(baseKeySize);
    expect((await socket.ask(heartbeat(terminal, { suite, sequence: next() }))).result).toBe(RESULT.OK);
    expect(await lastLogged('mutual-proof', terminal.serial)).toMatchObject({ 'event.outcome': 'success' });
  });
});

test('a plain login of a terminal that must log in both ways is AUTH_FAILED', async () => {
  const terminal = await operator.provision({ leastLogin: 'mutual' });
  expect((await (await dial()).ask(login(terminal, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
});

describe('one thing is wrong', () => {
  const flipped = (bytes: Buffer, at: number): Buffer => {
    const altered = Buffer.from(bytes);
    altered[at]! ^= 1;
    return altered;
  };
  const wrong: [name: string, detail: string, (parts: ProofParts, terminal: Terminal) => ProofParts][] = [
    ['another device', 'hardware-id', (parts) => ({ ...parts, hardwareId: Buffer.from('chip-0002') })],
    ["another terminal's packet", 'packet', (parts) => ({ ...parts, packet: packetFor(newTerminal()) })],
    [
      'a packet for another module',
      'packet',
      (parts, terminal) => ({ ...parts, packet: packetFor({ ...terminal, imei: newTerminal().imei }) }),
    ],
    ['a packet with a bit flipped', 'packet', (parts) => ({ ...parts, packet: flipped(parts.packet, 40) })],
    [
      'a third code with a bit flipped',
      'third-code',
      (parts) => ({ ...parts, third: flipped(parts.third, 3) }),
    ],
    [
      'a third code under another base key',
      'third-code',
      (parts) => ({ ...parts, third: thirdCode(randomBytes(16), randomBytes(32)) }),
    ],
    ['another nonce', 'no-challenge', (parts) => ({ ...parts, serverNonce: randomBytes(16) })],
  ];

  test.each(wrong)('%s: AUTH_FAILED, and the log says %s', async (_name, detail, alter) => {
    const terminal = await operator.provision();
    const socket = await dial();
    const parts = alter(await challenged(socket, terminal), terminal);
    const answer = await socket.ask(proof(parts)(terminal, { sequence: next() }));
    expect([answer.result, answer.suite, answer.tlvs.size]).toEqual([RESULT.AUTH_FAILED, SUITE.NONE, 0]);
    expect(await lastLogged('mutual-proof', terminal.serial)).toMatchObject({
      'event.outcome': 'failure',
      'event.reason': 'auth-failed',
      'm2m.detail': detail,
    });
  });

  test('a challenge is good for its connection only', async () => {
    const terminal = await operator.provision();
    const parts = await challenged(await dial(), terminal);
    const elsewhere = await dial();
    expect((await elsewhere.ask(proof(parts)(terminal, { sequence: next() }))).result).toBe(
      RESULT.AUTH_FAILED,
    );
  });

  test('a challenge is good once, whatever came of its proof', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    const parts = await challenged(socket, terminal);
    const wrongOne = { ...parts, hardwareId: Buffer.from('wrong') };
    for (const shown of [wrongOne, parts])
      expect((await socket.ask(proof(shown)(terminal, { sequence: next() }))).result).toBe(
        RESULT.AUTH_FAILED,
      );
    const again = await challenged(socket, terminal);
    expect((await socket.ask(proof(again)(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
  });

  test('a challenge is good whatever else is asked before its proof', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    const parts = await challenged(socket, terminal);
    const wrong = login(terminal, { sequence: next(), password: Buffer.from('wrong') });
    const results = [];
    for (const frame of [
      wrong,
      login(terminal, { sequence: next() }),
      heartbeat(terminal, { sequence: next() }),
    ])
      results.push((await socket.ask(frame)).result);
    expect(results).toEqual([RESULT.AUTH_FAILED, RESULT.OK, RESULT.OK]);
    expect((await socket.ask(proof(parts)(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
  });

  test('a challenge is good until the next one', async () => {
    const terminal = await operator.provision();
    const socket = await dial();
    const older = await challenged(socket, terminal);
    await challenged(socket, terminal);
    expect((await socket.ask(proof(older)(terminal, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
  });

  test('a challenge is good for its serial only', async () => {
    const [terminal, other] = [await operator.provision(), await operator.provision()];
    const socket = await dial();
    const parts = { ...(await challenged(socket, terminal)), packet: packetFor(other) };
    expect((await socket.ask(proof(parts)(other, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
  });

  test('a revoked packet, until a new one is minted', async () => {
    const terminal = await operator.provision();
    const before = packetFor(terminal);
    await operator.sql('SELECT m2m.revoke_packet($1)', [terminal.serial]);
    const after = await minted(terminal);
    const shown = async (packet: Buffer) => {
      const socket = await dial();
      const parts = { ...(await challenged(socket, terminal)), packet };
      return (await socket.ask(proof(parts)(terminal, { sequence: next() }))).result;
    };
    expect(await shown(before)).toBe(RESULT.AUTH_FAILED);
    expect(await lastLogged('mutual-proof', terminal.serial)).toMatchObject({ 'm2m.detail': 'revoked' });
    expect(await shown(after)).toBe(RESULT.OK);
  });
});

const environment = () => ({
  ...process.env,
  DATABASE_URL: deployment.database.url,
  M2M_DATABASE_TIMEOUT: '120',
  M2M_KEY_FILE: deployment.home.keyFile,
});

async function minted({ serial }: Terminal): Promise<Buffer> {
  const { code, out, err } = await m2m(
    ['packet', 'mint', serial, '--hardware-id', HARDWARE.toString()],
    undefined,
    environment(),
  );
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^[0-9a-f]+\n$/);
  return Buffer.from(out.trim(), 'hex');
}

test('an unknown serial, or one without a base key: an answer that looks the same, and proves nothing', async () => {
  const keyless = await operator.provision({ baseKeySize: null });
  const known = await operator.provision();
  const sizes: unknown[] = [];
  for (const terminal of [known, keyless, newTerminal()]) {
    const nonce = randomBytes(16);
    const answer = await (await dial()).ask(authChallenge(nonce)(terminal, { sequence: 9 }));
    const { genuine } = readChallenge(terminal, nonce, answer);
    expect(genuine).toBe(terminal === known);
    sizes.push([answer.length, answer.result, [...answer.tlvs].map(([tag, value]) => [tag, value.length])]);
  }
  expect(new Set(sizes.map((one) => JSON.stringify(one))).size).toBe(1);
});

test('challenges for unknown serials leave nothing behind in the database', async () => {
  const rows = () =>
    operator.sql(
      `SELECT (SELECT count(*) FROM m2m.failure AS f WHERE NOT EXISTS (SELECT FROM m2m.terminal AS t WHERE t.serial = f.serial)),
        (SELECT count(*) FROM m2m.audit_log), (SELECT count(*) FROM m2m.change)`,
    );
  const before = await rows();
  for (let n = 0; n < 10; n++) {
    const socket = await dial();
    const flood = Array.from({ length: 30 }, () => authChallenge(randomBytes(16))(newTerminal()));
    socket.send(...flood);
    for (let left = flood.length; left > 0; left--) expect((await socket.next()).result).toBe(RESULT.OK);
  }
  expect(await rows()).toEqual(before);
});

describe('the emulator', () => {
  const device = ({ serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey }: Terminal) => {
    const hex = (bytes: Buffer) => `\\x${bytes.toString('hex')}`;
    const identity = ['--serial', serial, '--imei', imei, '--imsi', imsi];
    return [
      ...identity,
      '--uplink',
      hex(uplinkPassword),
      '--downlink',
      hex(downlinkPassword),
      '--base-key',
      hex(baseKey),
    ];
  };
  const mutual = ['--mutual', '--hardware-id', HARDWARE.toString()];

  test('logs in both ways with a packet that was minted for it', async () => {
    const terminal = await operator.provision({ leastLogin: 'mutual', baseKeySize: 32 });
    const packet = (await minted(terminal)).toString('hex');
    const where = ['--connect', `${gateway.host}:${gateway.port}`, '--timeout', '60'];
    const { code, out, err } = await m2m([
      'emulate',
      'login',
      ...where,
      ...device(terminal),
      ...mutual,
      '--packet',
      packet,
      '--key',
    ]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('session key: ');
  });

  test('shows nothing of itself to a platform that does not hold the base key', async () => {
    const terminal = newTerminal();
    const { server, heard } = await falsePlatform();
    const { port } = server.address() as AddressInfo;
    const where = ['--connect', `127.0.0.1:${port}`, '--timeout', '60'];
    const packet = packetFor(terminal).toString('hex');
    const { code, err } = await m2m([
      'emulate',
      'login',
      ...where,
      ...device(terminal),
      ...mutual,
      '--packet',
      packet,
    ]);
    server.close();
    expect([code, err]).toEqual([1, expect.stringContaining('this is not the platform')]);
    expect(heard.map((frame) => frame.readUInt16BE(2))).toEqual([COMMAND.AUTH_CHALLENGE]);
  });
});

/** A man in the middle who answers a challenge as well as he can. */
async function falsePlatform(): Promise<{ server: Server; heard: Buffer[] }> {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (frame: Buffer) => {
      heard.push(frame);
      const tlvs = [
        [TAG.SERVER_NONCE, randomBytes(16)],
        [TAG.TIMESTAMP, u32(now())],
        [TAG.FIRST_CODE, randomBytes(32)],
      ] as const;
      const command = frame.readUInt16BE(2) | RESPONSE;
      socket.write(
        buildFrame({ command, sequence: frame.readUInt32BE(4), serial: frame.subarray(12, 28), tlvs }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, heard };
}
