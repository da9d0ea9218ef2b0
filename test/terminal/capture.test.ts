import fc from 'fast-check';
import { CaptureError, readCapture, type CaptureEvent } from '../../src/terminal/capture/capture';
import {
  be16,
  be32,
  FIN,
  ipv4,
  pcap,
  pcapng,
  RST,
  SYN,
  tcp,
  type Packet,
  type SegmentOptions,
} from '../support/capture';
import { buildFrame, COMMAND, RESPONSE, TAG, u32 } from '../support/oracle';

const address6 = (last: number): Buffer => Buffer.concat([be32(0x20010db8, 0), be16(1, 0, 0, last)]);

/** With a destination options header before TCP. */
function ipv6(segment: Buffer): Buffer {
  const options = Buffer.of(6, 0, 1, 4, 0, 0, 0, 0);
  const head = [be32(0x60000000), be16(segment.length + 8), Buffer.of(60, 64), address6(1), address6(2)];
  return Buffer.concat([...head, options, segment]);
}

const START = 1_800_000_000_000_000;
const packet = (segment: Buffer, index = 0): Packet => ({
  bytes: ipv4(segment),
  at: START + index * 1000,
});
const syn = (up = true) => tcp(0, { up, flags: SYN });
const data = (sequence: number, payload: Buffer, options: SegmentOptions = {}) =>
  tcp(sequence, { payload, ...options });
/** The segments of one connection in the order of the capture, each a millisecond after the one before. */
const capture = (...segments: Buffer[]): Buffer => pcap(segments.map((segment, i) => packet(segment, i)));

/** The file as a source. It throws where more is asked for at once than any bound allows. */
function sourceOf(file: Buffer) {
  let at = 0;
  return (size: number): Buffer => {
    if (size > 400_000) throw new Error(`${size} bytes at once`);
    const taken = file.subarray(at, at + size);
    at += taken.length;
    return taken;
  };
}

function readAll(file: Buffer): { events: CaptureEvent[]; wrong: Error | undefined } {
  const events: CaptureEvent[] = [];
  try {
    for (const event of readCapture(sourceOf(file), 7750)) events.push(event);
  } catch (error) {
    return { events, wrong: error as Error };
  }
  return { events, wrong: undefined };
}

function read(file: Buffer): CaptureEvent[] {
  const { events, wrong } = readAll(file);
  if (wrong !== undefined) throw wrong;
  return events;
}

const bytesIn = (events: readonly CaptureEvent[]): Buffer[] =>
  events.flatMap((event) => (event.kind === 'frame' ? [event.bytes] : []));

const frame = (sequence: number, command: number = COMMAND.HEARTBEAT): Buffer =>
  buildFrame({ command, serial: 'T-1', sequence, tlvs: [[TAG.TIMESTAMP, u32(sequence)]] });

const one = frame(1);
const two = frame(2);
const answer = frame(1, COMMAND.HEARTBEAT | RESPONSE);

const session = [syn(), syn(false), data(0, one), data(0, answer, { up: false }), data(one.length, two)];
const expected = [
  { direction: 'up', offset: 0, bytes: one, state: 'whole', time: BigInt(START + 2000) * 1000n },
  { direction: 'down', offset: 0, bytes: answer, state: 'whole', time: BigInt(START + 3000) * 1000n },
  { direction: 'up', offset: one.length, bytes: two, state: 'whole', time: BigInt(START + 4000) * 1000n },
];

describe('formats', () => {
  const packets = session.map((segment, i) => packet(segment, i));

  test.each([
    ['big', false],
    ['big', true],
    ['little', false],
    ['little', true],
  ] as const)('pcap, %s-endian, nanoseconds: %s', (order, nanoseconds) => {
    const events = read(pcap(packets, { order, nanoseconds }));
    expect(events).toMatchObject(expected);
    expect(events[0]).toMatchObject({
      connection: 1,
      terminal: { address: '10.0.0.1', port: 40000 },
      gateway: { address: '10.0.0.2', port: 7750 },
      sawStart: true,
    });
  });

  test.each(['big', 'little'] as const)('pcapng, %s-endian', (order) => {
    const events = read(pcapng(packets, order));
    expect(bytesIn(events)).toEqual([one, answer, two]);
    // Within the 2^-20 s that this interface counts in.
    for (const [i, { time }] of events.entries()) {
      const difference = Number(expected[i]!.time - time);
      expect(difference).toBeGreaterThanOrEqual(0);
      expect(difference).toBeLessThan(1000);
    }
  });

  test('pcapng of two sections, the second in the other byte order', () => {
    const file = Buffer.concat([pcapng(packets.slice(0, 3), 'big'), pcapng(packets.slice(3), 'little')]);
    expect(bytesIn(read(file))).toEqual([one, answer, two]);
  });

  test('pcapng with simple packets, which have no time', () => {
    const events = read(pcapng(packets, 'little', true));
    expect(bytesIn(events)).toEqual([one, answer, two]);
    expect(events[0]!.time).toBe(0n);
  });

  test('packets that stand out of order are read by their times', () => {
    const late = [packets[4]!, packets[2]!, packets[0]!, packets[3]!, packets[1]!];
    expect(read(pcap(late))).toMatchObject(expected);
  });
});

describe('link types', () => {
  const segments = [syn(), data(0, one)];
  const ethernet = (...type: number[]) => Buffer.concat([Buffer.alloc(12), be16(...type)]);
  const loopback = be32(2);
  const sll2 = (type: number) => Buffer.concat([be16(type), Buffer.alloc(18)]);

  test.each([
    ['Ethernet', 1, ethernet(0x0800), ipv4],
    ['Ethernet with a VLAN tag', 1, ethernet(0x8100, 5, 0x0800), ipv4],
    ['Ethernet with IPv6', 1, ethernet(0x86dd), ipv6],
    ['Linux cooked v1', 113, Buffer.concat([Buffer.alloc(14), be16(0x86dd)]), ipv6],
    ['Linux cooked v2', 276, sll2(0x0800), ipv4],
    ['raw IP', 101, Buffer.alloc(0), ipv6],
    ['raw IPv4', 228, Buffer.alloc(0), ipv4],
    ['raw IPv6', 229, Buffer.alloc(0), ipv6],
    ['null, big-endian', 0, loopback, ipv4],
    ['null, little-endian', 0, Buffer.from(be32(30)).reverse(), ipv6],
    ['loopback', 108, be32(24), ipv6],
  ] as const)('%s', (_, link, head, wrap) => {
    // What Ethernet pads to its smallest frame is no payload.
    const packets = segments.map((segment) => ({
      bytes: Buffer.concat([head, wrap(segment), Buffer.alloc(7)]),
      at: START,
    }));
    const events = read(pcap(packets, { link }));
    expect(bytesIn(events)).toEqual([one]);
    expect(events[0]!.terminal.address).toBe(wrap === ipv4 ? '10.0.0.1' : '2001:db8::1:0:0:1');
  });

  test('what is no TCP, a fragment or cut off is passed over', () => {
    const udp = ipv4(data(0, two));
    udp.writeUInt8(17, 9);
    const fragment = ipv4(data(0, two));
    fragment.writeUInt16BE(0x2000, 6);
    const whole = ipv4(data(0, two));
    const odd = [udp, fragment, ...Array.from({ length: 39 }, (_, size) => whole.subarray(0, size))];
    const packets = [...odd, ipv4(syn()), ipv4(data(0, one))].map((bytes) => ({ bytes, at: START }));
    expect(bytesIn(read(pcap(packets)))).toEqual([one]);
  });

  test('other ports are passed over', () => {
    const other = data(0, two);
    other.writeUInt16BE(443, 2);
    expect(read(capture(other))).toEqual([]);
  });
});

describe('wrong files', () => {
  const whole = pcap(session.map((segment, i) => packet(segment, i)));
  const message = (file: Buffer): string => {
    const { wrong } = readAll(file);
    expect(wrong).toBeInstanceOf(CaptureError);
    return wrong!.message;
  };

  test('say what they are', () => {
    expect(message(Buffer.alloc(0))).toBe('the file is empty');
    expect(message(Buffer.from('GET / HTTP/1.1'))).toBe('neither pcap nor pcapng: it begins with 47455420');
    expect(message(Buffer.from('1f8b0800', 'hex'))).toBe('the file is compressed: gunzip it first');
    expect(message(pcap([packet(syn())], { link: 127 }))).toBe('link type 127 is not known');
    const version = Buffer.from(whole);
    version.writeUInt16LE(3, 4);
    expect(message(version)).toBe('pcap of version 3, where 2 is known');
  });

  test('that end too early are read up to there', () => {
    const { events, wrong } = readAll(whole.subarray(0, -1));
    expect(bytesIn(events)).toEqual([one, answer]);
    expect(wrong).toEqual(new CaptureError('the file ends within packet 5'));
  });

  test('are never taken at their word about sizes', () => {
    const size = Buffer.from(whole);
    size.writeUInt32LE(0xfffffff0, 24 + 8);
    expect(message(size)).toBe('packet 1 claims 4294967280 bytes');
    const ng = pcapng([packet(syn())]);
    for (const [at, type] of blocks(ng)) {
      for (const claim of [0, 8, 13, 0xfffffff0]) {
        const lie = Buffer.from(ng);
        lie.writeUInt32LE(claim, at + 4);
        expect([type, message(lie)]).toEqual([type, expect.stringMatching(/claims|ends within/)]);
      }
    }
  });

  test('describe their interfaces anew in every section', () => {
    const ng = pcapng([packet(syn())]);
    const [[, description], [packets]] = [
      blocks(ng)
        .slice(0, 2)
        .map(([at]) => at),
      blocks(ng).at(-1)!,
    ];
    const other = Buffer.concat([ng.subarray(0, description), ng.subarray(packets)]);
    expect(message(Buffer.concat([ng, other]))).toMatch(/packet of an interface that is not described$/);
  });

  test('only ever end in events or a CaptureError, wherever they are broken', () => {
    const files = [whole, pcapng(session.map((segment, i) => packet(segment, i)))];
    const broken = fc.record({
      file: fc.constantFrom(...files),
      at: fc.nat(3000),
      byte: fc.nat(255),
      length: fc.nat(3000),
    });
    fc.assert(
      fc.property(broken, ({ file, at, byte, length }) => {
        const copy = Buffer.from(file);
        // Past the padding of the block that is not read.
        const place = at < 100 ? at : copy.length - 1 - (at % 600);
        if (place >= 0) copy[place] = byte;
        const { wrong } = readAll(copy.subarray(0, copy.length - (length > 600 ? 0 : length)));
        expect(wrong === undefined || wrong instanceof CaptureError).toBe(true);
      }),
    );
  });

  function blocks(file: Buffer): [at: number, type: number][] {
    const found: [number, number][] = [];
    for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4))
      found.push([at, file.readUInt32LE(at)]);
    return found;
  }
});

describe('streams', () => {
  const stream = Buffer.concat([one, two]);
  const part = (from: number, to: number) => data(from, stream.subarray(from, to));

  test('segments out of order, each byte once', () => {
    const events = read(capture(syn(), part(40, 72), part(10, 40), part(0, 10)));
    expect(bytesIn(events)).toEqual([one, two]);
  });

  test('retransmissions and overlaps, before and behind a gap', () => {
    const segments = [part(0, 20), part(0, 20), part(10, 30), part(50, 60), part(45, 72), part(45, 72)];
    const events = read(capture(syn(), ...segments, part(30, 50), part(0, 72)));
    expect(bytesIn(events)).toEqual([one, two]);
  });

  test('a keep-alive repeats the byte before', () => {
    const events = read(capture(syn(), part(0, 36), data(35, Buffer.of(0)), part(36, 72)));
    expect(bytesIn(events)).toEqual([one, two]);
  });

  test('a gap is reported, and nothing behind it is read', () => {
    const events = read(capture(syn(), part(0, 40), part(50, 72), data(72, one)));
    expect(events).toMatchObject([
      { kind: 'frame', bytes: one, state: 'whole' },
      { kind: 'frame', bytes: stream.subarray(36, 40), state: 'open', offset: 36 },
      { kind: 'gap', direction: 'up', offset: 40, size: 10, behind: 22 + one.length },
    ]);
  });

  test('packets that were captured in part leave a gap', () => {
    const short = ipv4(part(0, 36)).subarray(0, 60);
    const packets = [ipv4(syn()), short, ipv4(part(36, 72))].map((bytes) => ({ bytes, at: START }));
    expect(read(pcap(packets))).toMatchObject([
      { kind: 'frame', state: 'open', bytes: one.subarray(0, 20) },
      { kind: 'gap', offset: 20, size: 16, behind: 36 },
    ]);
    const last = ipv4(tcp(0, { flags: FIN, payload: one })).subarray(0, 60);
    expect(read(pcap([ipv4(syn()), last].map((bytes) => ({ bytes, at: START }))))).toMatchObject([
      { kind: 'frame', state: 'open' },
      { kind: 'gap', offset: 20, size: 16, behind: 0 },
    ]);
  });

  test('what waits behind a gap is bounded', () => {
    const much = Array.from({ length: 300 }, (_, i) => data(100 + i * 8000, Buffer.alloc(8000)));
    const events = read(capture(syn(), ...much, data(0, one)));
    expect(events).toMatchObject([{ kind: 'gap', offset: 0, size: 100, behind: 300 * 8000 + one.length }]);
  });

  test.each([
    ['FIN', FIN],
    ['RST', RST],
  ])('a frame within which %s comes is incomplete', (_, flags) => {
    const events = read(capture(syn(), part(0, 40), tcp(40, { flags })));
    expect(events).toMatchObject([{ bytes: one }, { bytes: two.subarray(0, 4), state: 'closed' }]);
  });

  test('a FIN that comes before the data ends nothing', () => {
    expect(bytesIn(read(capture(syn(), tcp(72, { flags: FIN }), part(36, 72), part(0, 36))))).toEqual([
      one,
      two,
    ]);
  });

  test('the capture may end within a frame', () => {
    const events = read(capture(syn(), part(0, 40)));
    expect(events).toMatchObject([{ bytes: one }, { bytes: two.subarray(0, 4), state: 'open' }]);
  });

  test('a connection that began before the capture says so', () => {
    expect(read(capture(part(36, 72)))).toMatchObject([{ bytes: two, sawStart: false, offset: 0 }]);
  });

  test('the same ports again are another connection', () => {
    const again = tcp(5000, { flags: SYN });
    const events = read(capture(syn(), part(0, 36), again, data(5000, two)));
    expect(events.map(({ connection, offset }) => [connection, offset])).toEqual([
      [1, 0],
      [2, 0],
    ]);
  });

  test('two connections do not mix', () => {
    const other = { terminalPort: 40001 };
    const events = read(
      capture(syn(), tcp(0, { flags: SYN, ...other }), part(0, 10), data(0, two, other), part(10, 36)),
    );
    expect(events).toMatchObject([
      { connection: 2, bytes: two },
      { connection: 1, bytes: one },
    ]);
  });

  test('a header that closes the connection ends the reading of that direction', () => {
    const wrong = buildFrame({ command: COMMAND.HEARTBEAT, serial: 'T-1', version: 0x0500 });
    const short = buildFrame({ command: COMMAND.HEARTBEAT, serial: 'T-1', length: 27 });
    for (const bad of [wrong, short]) {
      const events = read(capture(syn(), data(0, one), data(36, bad), data(36 + bad.length, two)));
      expect(events).toMatchObject([{ bytes: one }, { bytes: bad, state: 'refused', offset: 36 }]);
    }
  });
});

test('however a stream is cut, repeated and shuffled, its frames are the same', () => {
  const frames = Array.from({ length: 12 }, (_, i) =>
    buildFrame({
      command: COMMAND.LOGIN,
      serial: 'T-1',
      sequence: i,
      tlvs: [[TAG.FIRMWARE, Buffer.alloc(i * 5, 65)]],
    }),
  );
  const stream = Buffer.concat(frames);
  const place = fc.nat(stream.length - 1);
  const shuffled = fc
    .record({
      cuts: fc.array(place, { maxLength: 40 }),
      repeated: fc.array(fc.tuple(place, fc.integer({ min: 1, max: 200 })), { maxLength: 10 }),
    })
    .map(({ cuts, repeated }) => {
      const edges = [...new Set([0, ...cuts, stream.length])].sort((a, b) => a - b);
      const parts = edges.slice(1).map((end, i) => [edges[i]!, end] as const);
      return [
        ...parts,
        ...repeated.map(([from, size]) => [from, Math.min(from + size, stream.length)] as const),
      ];
    })
    .chain((parts) => fc.shuffledSubarray(parts, { minLength: parts.length }));
  fc.assert(
    fc.property(shuffled, (parts) => {
      const segments = parts.map(([from, to]) => data(from, stream.subarray(from, to)));
      const events = read(capture(syn(), ...segments));
      expect(bytesIn(events)).toEqual(frames);
      const times = events.map(({ time }) => time);
      expect(times).toEqual([...times].sort((a, b) => Number(a - b)));
    }),
    { numRuns: 300 },
  );
});
