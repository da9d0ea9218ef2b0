/**
 * Framer and decoder under mutated traffic, in-process and for a few seconds. A run is told again by its seed:
 * FUZZ_SEED=<printed> FUZZ_MS=<longer> npx jest test/fuzz
 */
import { decode } from '../../src/protocol/decode';
import { FAULTS, isFault } from '../../src/protocol/faults';
import { Framer } from '../../src/protocol/framer';
import { isWmmp } from '../../src/protocol/header';
import { headerJudge } from '../../src/protocol/judge';
import { decodeWmmp } from '../../src/protocol/wmmp/decode';
import { newTerminal } from '../support/operator';
import {
  securityConfigAnswer,
  uplink,
  WMMP,
  wmmpFrame,
  wmmpHeartbeat,
  wmmpLogin,
  wmmpLogout,
} from '../support/wmmpOracle';
import file from '../vectors/frames.json';

const LIMIT = 4096;
/** However slow the machine: so many find every kind that the test asks for. */
const LEAST_RUNS = 1000;
const BUDGET_MS = Number(process.env['FUZZ_MS'] ?? 5000);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 32) >>> 0;

const module3 = { ...newTerminal(), baseKey: Buffer.alloc(24, 7) };
const register = { command: WMMP.REGISTER, serial: '', body: Buffer.alloc(32, 0x31) };
const corpus = [
  ...(file.vectors as { hex?: string }[]).flatMap(({ hex }) => (hex ? [Buffer.from(hex, 'hex')] : [])),
  wmmpLogin(module3),
  wmmpLogin(module3, { keyProof: true, version: 0x0301, tlvs: [[0x3006, Buffer.alloc(5)]] }),
  wmmpHeartbeat(module3),
  wmmpLogout(module3, 1, { reason: 9 }),
  uplink(module3, WMMP.CONFIG_TRAP, 1, Buffer.alloc(0), { tlvs: [[0x3007, Buffer.alloc(3)]] }),
  uplink(module3, 0x0a, 1, Buffer.alloc(9)),
  securityConfigAnswer(module3, 1, 5, { result: 2, tags: [0xe025] }),
  wmmpFrame(register),
];

/** mulberry32: small, and the same everywhere for one seed. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof generator>;
type Mutation = (frame: Buffer, random: Random) => Buffer;
const pick = <T>(from: readonly T[], random: Random): T => from[random(from.length)]!;

/** Offsets of the TLVs of a frame that is still sound; the header's length field stands for one that is not. */
function lengthFields(frame: Buffer): number[] {
  const found = [0];
  for (let at = 28; at + 4 <= frame.length; at += 4 + frame.readUInt16BE(at + 2)) found.push(at + 2);
  return found;
}

const MUTATIONS: Mutation[] = [
  (frame) => frame,
  function flipBits(frame, random) {
    for (let n = 1 + random(4); n > 0 && frame.length > 0; n--)
      frame[random(frame.length)]! ^= 1 << random(8);
    return frame;
  },
  function setByte(frame, random) {
    if (frame.length > 0) frame[random(frame.length)] = pick([0, 1, 0x7f, 0x80, 0xff], random);
    return frame;
  },
  function lieAboutLength(frame, random) {
    if (frame.length < 28) return frame;
    const at = pick(lengthFields(frame), random);
    const near = frame.readUInt16BE(at) + random(9) - 4;
    frame.writeUInt16BE(
      pick([near & 0xffff, 0, 27, 28, LIMIT, LIMIT + 1, 0xffff, random(0x10000)], random),
      at,
    );
    return frame;
  },
  function splice(frame, random) {
    const other = pick(corpus, random);
    const whole = Buffer.concat([
      frame.subarray(0, random(frame.length + 1)),
      other.subarray(random(other.length)),
    ]);
    if (random(2) === 0 && whole.length >= 28) whole.writeUInt16BE(Math.min(whole.length, 0xffff), 0);
    return whole;
  },
  function insert(frame, random) {
    const at = random(frame.length + 1);
    const noise = Buffer.from(Array.from({ length: random(40) }, () => random(256)));
    const whole = Buffer.concat([frame.subarray(0, at), noise, frame.subarray(at)]);
    if (random(2) === 0 && whole.length >= 28) whole.writeUInt16BE(whole.length, 0);
    return whole;
  },
  (frame, random) => frame.subarray(0, random(frame.length + 1)),
];

function stream(random: Random): Buffer {
  const frames = Array.from({ length: 1 + random(5) }, () => {
    let frame: Buffer = Buffer.from(pick(corpus, random));
    for (let n = random(3); n > 0; n--) frame = pick(MUTATIONS, random)(frame, random);
    return frame;
  });
  return Buffer.concat(frames);
}

function cut(bytes: Buffer, random: Random): Buffer[] {
  const chunks: Buffer[] = [];
  const largest = pick([1, 7, 64, 1500, 65536], random);
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random(largest));
    chunks.push(bytes.subarray(at, end));
    at = end;
  }
  return chunks;
}

/** What came of each event; throws where an event is neither a message nor a named fault. */
function outcomes(chunks: readonly Buffer[]): string[] {
  const framer = new Framer(headerJudge(LIMIT));
  const found: string[] = [];
  for (const chunk of chunks) {
    for (const event of framer.push(chunk)) {
      const read = isWmmp(event.header.version) ? decodeWmmp : decode;
      const result = event.kind === 'refused' ? event.fault : read(event.header, event.bytes);
      if (isFault(result) && !(result.name in FAULTS)) throw new Error(`no fault: ${JSON.stringify(result)}`);
      const dialect = isWmmp(event.header.version) ? 'wmmp-' : '';
      found.push(dialect + (isFault(result) ? `${result.name} ${result.offset}` : result.command));
    }
    if (framer.pending > LIMIT) throw new Error(`${framer.pending} bytes held`);
  }
  return found;
}

test(
  `for ${BUDGET_MS} ms: never throws, always ends, only messages and named faults`,
  () => {
    const random = generator(SEED);
    const kinds = new Set<string>();
    const until = Date.now() + BUDGET_MS;
    let runs = 0;
    while (Date.now() < until || runs < LEAST_RUNS) {
      const bytes = stream(random);
      const chunks = cut(bytes, random);
      try {
        const found = outcomes(chunks);
        // Each event takes at least a header's 28 bytes.
        if (found.length > bytes.length / 28) throw new Error(`${found.length} events`);
        if (runs % 16 === 0) expect(found).toEqual(outcomes([bytes]));
        for (const one of found) kinds.add(one.split(' ')[0]!);
      } catch (error) {
        const sizes = chunks.map((chunk) => chunk.length).join(' ');
        throw new Error(`seed ${SEED}, run ${runs}: ${bytes.toString('hex')} cut ${sizes}`, { cause: error });
      }
      runs++;
    }
    process.stderr.write(`fuzz: seed ${SEED}, ${runs} streams, ${kinds.size} kinds of outcome\n`);
    expect(kinds.size).toBeGreaterThan(30);
    expect([...kinds].filter((kind) => kind.startsWith('wmmp-')).length).toBeGreaterThan(10);
  },
  BUDGET_MS + 300_000,
);
