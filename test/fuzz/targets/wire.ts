/** Targets: what comes over a terminal's connection, and over a load balancer's. */
import { isIP } from 'node:net';
import { inspectFrame, frameText, jsonForm } from '../../../src/cli/inspectFrame';
import { readCredentialText } from '../../../src/crypto/credentialText';
import { plainAddress } from '../../../src/platform/listener/origin';
import { ProxyHeaderReader, readProxyHeader } from '../../../src/platform/listener/proxyHeader';
import { decode } from '../../../src/protocol/decode';
import { FAULTS, isFault, type Fault } from '../../../src/protocol/faults';
import { Framer, type FramerEvent } from '../../../src/protocol/framer';
import { HEADER_SIZE, isWmmp, readHeader, VERSION_4_0 } from '../../../src/protocol/header';
import { headerJudge } from '../../../src/protocol/judge';
import { downlinkJudge } from '../../../src/protocol/judgeDownlink';
import { decodeWmmp } from '../../../src/protocol/wmmp/decode';
import { local, proxied, proxyHeader } from '../../support/proxy';
import { bytesOf, terminalOf, vectors, type Vector } from '../../support/vectors';
import { securityConfigAnswer, uplink, WMMP, wmmpFrame, wmmpHeartbeat } from '../../support/wmmpOracle';
import { wmmpLogin, wmmpLoginAnswer, wmmpLogout } from '../../support/wmmpOracle';
import { must, text, type Target } from '../target';

const LIMIT = 4096;
const frames = vectors.filter(({ hex }) => hex !== undefined).map(bytesOf);
const module3 = { ...terminalOf(vectors[0]!), baseKey: Buffer.alloc(24, 7) };
const wmmpFrames = [
  wmmpLogin(module3),
  wmmpLogin(module3, { keyProof: true, version: 0x0301, tlvs: [[0x3006, Buffer.alloc(5)]] }),
  wmmpLoginAnswer(module3, { sequence: 1 }, { timestamp: 5, sessionKey: Buffer.alloc(24, 7) }),
  wmmpHeartbeat(module3),
  wmmpLogout(module3, 1, { reason: 9 }),
  uplink(module3, WMMP.CONFIG_TRAP, 1, Buffer.alloc(0), { tlvs: [[0x3007, Buffer.alloc(3)]] }),
  uplink(module3, 0x0a, 1, Buffer.alloc(9)),
  securityConfigAnswer(module3, 1, 5, { result: 2, tags: [0xe025] }),
  wmmpFrame({ command: WMMP.REGISTER, serial: '', body: Buffer.alloc(32, 0x31) }),
];

function named(fault: Fault, length: number): string {
  must(fault.name in FAULTS, `no fault: ${fault.name}`);
  must(
    fault.offset >= 0 && fault.offset <= Math.max(length, HEADER_SIZE),
    `${fault.name} at ${fault.offset}`,
  );
  return fault.name;
}

/** Pieces whose sizes follow from the bytes themselves. */
function pieces(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  const largest = [1, 7, 64, 1500][(bytes[bytes.length >> 1] ?? 0) % 4]!;
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + ((bytes[at]! * 31 + at) % largest);
    found.push(bytes.subarray(at, end));
    at = end;
  }
  return found;
}

const told = (event: FramerEvent): string =>
  event.kind === 'refused' ? event.fault.name : event.bytes.toString('hex');

function events(judge: ReturnType<typeof headerJudge>, chunks: readonly Buffer[]): FramerEvent[] {
  const framer = new Framer(judge);
  return chunks.flatMap((chunk) => {
    const found = framer.push(chunk);
    must(framer.pending <= LIMIT, `${framer.pending} bytes held`);
    return found;
  });
}

export const framer: Target = {
  seeds: [...frames, ...wmmpFrames, Buffer.concat([...frames.slice(0, 4), ...wmmpFrames.slice(0, 2)])],
  kinds: 8,
  run: (bytes) => {
    for (const judge of [headerJudge(LIMIT), downlinkJudge(LIMIT)]) {
      const found = events(judge, pieces(bytes)).map(told);
      must(found.join() === events(judge, [bytes]).map(told).join(), 'pieces make a difference');
      // Each event takes at least a header's bytes.
      must(found.length <= bytes.length / HEADER_SIZE, `${found.length} events`);
    }
    const [first] = events(headerJudge(LIMIT), [bytes]);
    return first === undefined ? 'none' : first.kind === 'frame' ? 'frame' : named(first.fault, bytes.length);
  },
};

function inspected(bytes: Buffer): void {
  for (const direction of [undefined, 'up', 'down'] as const) {
    const found = inspectFrame(bytes, 0, direction, { ...module3, timestamp: undefined, around: 5 });
    must(frameText(found) !== '' && JSON.stringify(jsonForm(found)) !== '', 'nothing said');
  }
}

export const decode4: Target = {
  seeds: frames,
  kinds: 25,
  run: (bytes) => {
    inspected(bytes);
    if (bytes.length < HEADER_SIZE) return 'short';
    const header = { ...readHeader(bytes), length: bytes.length, version: VERSION_4_0 };
    const message = decode(header, bytes);
    if (isFault(message)) return named(message, bytes.length);
    const digest = message.digest === undefined ? 0 : 4 + message.digest.length;
    must(message.covered.length + digest === bytes.length, 'bytes that are neither covered nor digest');
    must((message.digest !== undefined) === (header.suite !== 0), 'digest and suite differ');
    return message.command;
  },
};

export const wmmp: Target = {
  seeds: wmmpFrames,
  kinds: 10,
  run: (bytes) => {
    if (bytes.length < HEADER_SIZE) return 'short';
    const header = { ...readHeader(bytes), length: bytes.length };
    if (isWmmp(header.version)) inspected(bytes);
    const [up, down] = (['up', 'down'] as const).map((way) => decodeWmmp(header, bytes, way));
    for (const message of [up!, down!]) {
      if (isFault(message)) named(message, bytes.length);
      else {
        const digest = message.digest === undefined ? 0 : 20;
        must(message.covered.length + digest === bytes.length, 'bytes that are neither covered nor digest');
        must(/^[\x20-\x7e]*$/.test(message.fields.firmware ?? ''), 'firmware that is not printable');
      }
    }
    return isFault(up!) ? up.name : up!.command;
  },
};

export const proxy: Target = {
  seeds: [
    ...[proxied('192.0.2.7', 40_001), proxied('2001:db8:0:0:0:0:0:1', 9), local(), local(Buffer.alloc(9))],
    ...[proxied('0:0:0:ffff:1:2:3:4', 9), proxied('0:0:0:0:0:ffff:102:304', 9)],
    proxyHeader({ family: 0x00, body: Buffer.alloc(40) }),
  ],
  kinds: 4,
  run: (bytes) => {
    const whole = readProxyHeader(bytes);
    if (whole === 'more') must(bytes.length < 536, 'more than 536 bytes are waited for');
    const reader = new ProxyHeaderReader();
    let last: ReturnType<ProxyHeaderReader['push']> = 'more';
    for (const piece of pieces(bytes)) if (last === 'more') last = reader.push(piece);
    if (typeof whole === 'string' || typeof last === 'string') {
      must(whole === last, 'pieces make a difference');
      return typeof whole === 'string' ? whole : 'read';
    }
    must(last.length === whole.length && last.source?.address === whole.source?.address, 'pieces differ');
    if (whole.source === undefined) return whole.local ? 'local' : 'unspecified';
    const { address, port } = whole.source;
    must(isIP(address) !== 0 && !address.includes('%'), `no address: ${address}`);
    must(plainAddress(address) === address && port <= 65_535, `not plain: ${address}`);
    return `IPv${isIP(address)}`;
  },
};

type Text = Vector & { readonly text: string; readonly changeId: number };
const texts = vectors.filter(({ what }) => what === 'sms') as Text[];
const { suite, imei, imsi, downlinkPassword } = terminalOf(texts[0]!);
const context = { suite, imei, imsi, downlinkPassword, changeId: texts[0]!.changeId };
/** Those that were written for this terminal. */
const own = new Set(
  texts.filter(({ terminal }) => terminal.serial === texts[0]!.terminal.serial).map((one) => one.text),
);

export const smsText: Target = {
  seeds: [...text(...texts.map((one) => one.text)), ...text('M2M2 C=1 S=AAAAAAAAAAA')],
  kinds: 3,
  run: (bytes) => {
    const read = bytes.toString('latin1');
    const found = readCredentialText(read, context);
    must((typeof found !== 'string') === own.has(read), 'taken, though nobody wrote it');
    return typeof found === 'string' ? found : 'taken';
  },
};
