import fc from 'fast-check';
import { Framer, type FramerEvent } from '../../src/protocol/framer';
import { headerJudge } from '../../src/protocol/judge';
import { buildFrame, COMMAND, heartbeat, SUITE, TAG, type Terminal } from '../support/oracle';
import file from '../vectors/frames.json';

const LIMIT = 512;
const vectors = (file.vectors as { what: string; hex?: string }[])
  .filter(({ hex }) => hex !== undefined)
  .map(({ what, hex }) => ({ what, bytes: Buffer.from(hex!, 'hex') }));
const requests = vectors.filter(({ what }) => what === 'request').map(({ bytes }) => bytes);
const [one, two] = [requests[0]!, requests[1]!];
const unknownSuite = (length: number) =>
  buildFrame({ command: COMMAND.LOGIN, serial: 'S', suite: 9, length, digest: null });
const fatal = buildFrame({ command: 0x0777, serial: 'S' });

const framer = (limit = LIMIT) => new Framer(headerJudge(limit));
/** Events as text: quick to compare, and not bound to the read buffer. */
const told = (events: FramerEvent[]) =>
  events.map((event) => {
    const { serial, ...rest } = event.header;
    const what = event.kind === 'frame' ? event.bytes.toString('hex') : event.fault;
    return JSON.stringify([rest, serial.toString('hex'), what]);
  });
const kinds = (events: FramerEvent[]) =>
  events.map((event) => (event.kind === 'frame' ? event.bytes.length : event.fault.name));

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const edges = [0, ...at.map((edge) => edge % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return edges.slice(1).map((end, i) => bytes.subarray(edges[i], end));
}

const bytes = (arbitrary: fc.Arbitrary<Uint8Array>) => arbitrary.map((some) => Buffer.from(some));
const piece = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...vectors.map((vector) => vector.bytes)) },
  { weight: 5, arbitrary: fc.constantFrom(...requests) },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.integer({ min: 28, max: LIMIT }), fc.boolean()).map(([length, whole]) => {
      const head = unknownSuite(length);
      return Buffer.concat([head, Buffer.alloc(whole ? length - 28 : 0, 0x55)]);
    }),
  },
  { weight: 1, arbitrary: bytes(fc.uint8Array({ maxLength: 60 })) },
);
const stream = fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces));
const edges = fc.array(fc.nat({ max: 8000 }), { maxLength: 40 });

describe('any split', () => {
  test('of any stream gives the same events as the whole', () => {
    fc.assert(
      fc.property(stream, edges, (whole, at) => {
        const split = framer();
        const events = cut(whole, at).flatMap((chunk) => told(split.push(chunk)));
        const unsplit = framer();
        expect(events).toEqual(told(unsplit.push(whole)));
        expect(split.pending).toBe(unsplit.pending);
      }),
      { numRuns: 400 },
    );
  });

  test('of random bytes too, and single bytes', () => {
    fc.assert(
      fc.property(bytes(fc.uint8Array({ maxLength: 200 })), (whole) => {
        const split = framer();
        const events = Array.from(whole, (byte) => Buffer.of(byte)).flatMap((chunk) =>
          told(split.push(chunk)),
        );
        expect(events).toEqual(told(framer().push(whole)));
      }),
    );
  });

  test('never holds more than the limit, and nothing that it skips or ignores', () => {
    fc.assert(
      fc.property(stream, edges, (whole, at) => {
        const split = framer();
        for (const chunk of cut(whole, at)) {
          split.push(chunk);
          if (split.pending > LIMIT) throw new Error(`${split.pending} bytes held`);
        }
      }),
    );
  });
});

describe('whole frames', () => {
  test('come out as they went in, with what follows held', () => {
    const state = framer();
    const [first, second, ...more] = state.push(Buffer.concat([one, two, one.subarray(0, 40)]));
    expect([first, second]).toMatchObject([
      { kind: 'frame', bytes: one, header: { length: one.length } },
      { kind: 'frame', bytes: two, header: { length: two.length } },
    ]);
    expect(more).toEqual([]);
    expect(state.pending).toBe(40);
    expect(kinds(state.push(one.subarray(40)))).toEqual([one.length]);
    expect(state.pending).toBe(0);
  });

  test('of exactly the limit and of a bare header', () => {
    const bare = heartbeat({ ...terminal }, { frame: { suite: SUITE.HMAC, tlvs: [], digest: null } });
    const widest = buildFrame({
      command: COMMAND.LOGIN,
      serial: 'S',
      suite: 2,
      tlvs: [[TAG.FIRMWARE, Buffer.alloc(LIMIT - 32, 0x20)]],
      digest: null,
    });
    expect(widest).toHaveLength(LIMIT);
    expect(kinds(framer().push(Buffer.concat([bare, widest, bare])))).toEqual([28, LIMIT, 28]);
    expect(kinds(framer(LIMIT - 1).push(widest))).toEqual(['length-too-long']);
  });

  test('an empty chunk changes nothing', () => {
    const state = framer();
    state.push(one.subarray(0, 10));
    expect(state.push(Buffer.alloc(0))).toEqual([]);
    expect(state.pending).toBe(10);
    expect(kinds(state.push(one.subarray(10)))).toEqual([one.length]);
  });

  test('what is held is a copy: the read buffer may be used again', () => {
    for (const at of [5, 28, 40]) {
      const state = framer();
      const chunk = Buffer.from(one.subarray(0, at));
      state.push(chunk);
      chunk.fill(0xff);
      const [event] = state.push(one.subarray(at));
      expect(event).toMatchObject({ kind: 'frame', bytes: one });
      expect(event!.header.serial).toEqual(one.subarray(12, 28));
    }
  });
});

describe('a header that is refused', () => {
  test('is refused at its 28th byte, not before and without waiting', () => {
    for (const bad of [fatal, unknownSuite(500), Buffer.alloc(28), Buffer.alloc(28, 0xff)]) {
      const state = framer();
      expect(state.push(bad.subarray(0, 27))).toEqual([]);
      expect(state.push(bad.subarray(27, 28))).toMatchObject([{ kind: 'refused' }]);
      expect(state.pending).toBe(0);
    }
  });

  test.each([28, 29, 100, LIMIT])('unknown suite: skipped by its length of %d, then goes on', (length) => {
    const body = Buffer.alloc(length - 28, 0x77);
    const whole = Buffer.concat([one, unknownSuite(length), body, two]);
    expect(kinds(framer().push(whole))).toEqual([one.length, 'suite-unknown', two.length]);
    const state = framer();
    expect(kinds(state.push(unknownSuite(length)))).toEqual(['suite-unknown']);
    for (const byte of body) {
      const nothing = [...state.push(Buffer.of(byte)), state.pending];
      if (nothing.length > 1 || nothing[0] !== 0) throw new Error('heard or held what is skipped');
    }
    expect(kinds(state.push(two))).toEqual([two.length]);
  });

  test('what is skipped is not read, even where it looks like frames', () => {
    const whole = Buffer.concat([unknownSuite(28 + one.length + fatal.length), one, fatal, two]);
    expect(kinds(framer().push(whole))).toEqual(['suite-unknown', two.length]);
  });

  test.each([
    ['length-too-short', { length: 27 }],
    ['length-too-long', { length: LIMIT + 1 }],
    ['version-unknown', { version: 0x0500 }],
    ['command-unknown', { command: 0x0777 }],
    ['result-in-request', { result: 1 }],
    ['serial-invalid', { serial: '' }],
  ])('%s closes: nothing further is heard or held', (name, wrong) => {
    const bad = buildFrame({ command: COMMAND.LOGIN, serial: 'S', suite: 1, digest: null, ...wrong });
    const state = framer();
    expect(kinds(state.push(Buffer.concat([one, bad, two])))).toEqual([one.length, name]);
    for (const later of [two, bad, Buffer.alloc(5000)]) expect(state.push(later)).toEqual([]);
    expect(state.pending).toBe(0);
  });
});

const terminal: Terminal = {
  serial: 'S',
  imei: '868123000000019',
  imsi: '460001234567890',
  uplinkPassword: Buffer.from('up'),
  downlinkPassword: Buffer.from('down'),
  baseKey: Buffer.alloc(16, 1),
};
