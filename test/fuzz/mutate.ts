/** Mutations of bytes by a seed: the same run on every machine. */

/** A number from 0 to below `below`. */
export type Random = (below: number) => number;

/** mulberry32: small, and the same everywhere for one seed. */
export function generator(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export const pick = <T>(from: readonly T[], random: Random): T => from[random(from.length)]!;

const LONGEST = 65_536;
const BYTES = [0, 1, 0x0a, 0x0d, 0x20, 0x22, 0x25, 0x27, 0x2c, 0x3a, 0x5c, 0x7f, 0x80, 0xc3, 0xff];
const NUMBERS = [0, 1, 27, 28, 29, 255, 256, 4095, 4096, 4097, 0x7fff, 0x8000, 0xffff];

type Mutation = (bytes: Buffer, random: Random, others: readonly Buffer[]) => Buffer;

function number(bytes: Buffer, random: Random): Buffer {
  const size = pick([1, 2, 2, 4], random);
  if (bytes.length < size) return bytes;
  const at = random(bytes.length - size + 1);
  const little = random(4) === 0;
  const before = little ? bytes.readUIntLE(at, size) : bytes.readUIntBE(at, size);
  const value = random(2) === 0 ? before + random(17) - 8 : pick([...NUMBERS, bytes.length], random);
  const wrapped = ((value % 256 ** size) + 256 ** size) % 256 ** size;
  if (little) bytes.writeUIntLE(wrapped, at, size);
  else bytes.writeUIntBE(wrapped, at, size);
  return bytes;
}

function spliced(bytes: Buffer, random: Random, others: readonly Buffer[]): Buffer {
  const other = pick(others, random);
  return Buffer.concat([
    bytes.subarray(0, random(bytes.length + 1)),
    other.subarray(random(other.length + 1)),
  ]);
}

/** A stretch of bytes and what surrounds it. */
function parts(bytes: Buffer, random: Random): [before: Buffer, middle: Buffer, behind: Buffer] {
  const at = random(bytes.length + 1);
  const end = at + random(Math.min(40, bytes.length - at) + 1);
  return [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
}

const MUTATIONS: readonly Mutation[] = [
  function flipBits(bytes, random) {
    for (let n = 1 + random(3); n > 0 && bytes.length > 0; n--)
      bytes[random(bytes.length)]! ^= 1 << random(8);
    return bytes;
  },
  function setByte(bytes, random) {
    if (bytes.length > 0) bytes[random(bytes.length)] = pick(BYTES, random);
    return bytes;
  },
  number,
  number,
  spliced,
  function insert(bytes, random) {
    const [before, , behind] = parts(bytes, random);
    const noise = Buffer.from(
      Array.from({ length: random(24) }, () => (random(2) === 0 ? pick(BYTES, random) : random(256))),
    );
    return Buffer.concat([before, noise, behind]);
  },
  function repeat(bytes, random) {
    const [before, middle, behind] = parts(bytes, random);
    return Buffer.concat([before, ...Array<Buffer>(2 + random(3)).fill(middle), behind]);
  },
  function remove(bytes, random) {
    const [before, , behind] = parts(bytes, random);
    return Buffer.concat([before, behind]);
  },
  (bytes, random) => bytes.subarray(0, random(bytes.length + 1)),
  function trueLength(bytes) {
    if (bytes.length >= 2) bytes.writeUInt16BE(Math.min(bytes.length, 0xffff));
    return bytes;
  },
];

/** One of the inputs, changed in one to four ways. */
export function mutated(inputs: readonly Buffer[], random: Random): Buffer {
  let bytes: Buffer = Buffer.from(pick(inputs, random));
  for (let n = 1 + random(4); n > 0; n--) bytes = Buffer.from(pick(MUTATIONS, random)(bytes, random, inputs));
  return bytes.subarray(0, LONGEST);
}
