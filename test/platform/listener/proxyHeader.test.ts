import fc from 'fast-check';
import { ProxyHeaderReader, readProxyHeader } from '../../../src/platform/listener/proxyHeader';
import { local, LOCAL, PROXY, proxied, proxyHeader } from '../../support/proxy';

const IPV6 = '2001:db8:0:0:0:0:0:1';
const none = Buffer.alloc(0);
const tlv = Buffer.from([0x04, 0, 3, 0xff, 0xff, 0xff]);

const GOOD: [string, Buffer, { address: string; port: number } | undefined, boolean][] = [
  ['TCP over IPv4', proxied('192.0.2.7', 40_001), { address: '192.0.2.7', port: 40_001 }, false],
  ['TCP over IPv6', proxied(IPV6, 65_535), { address: '2001:db8::1', port: 65_535 }, false],
  ['an IPv4-mapped address', proxied('0:0:0:0:0:ffff:c000:207', 1), { address: '192.0.2.7', port: 1 }, false],
  ['loopback', proxied('0:0:0:0:0:0:0:1', 1), { address: '::1', port: 1 }, false],
  ['TLVs', proxied('192.0.2.7', 9, tlv), { address: '192.0.2.7', port: 9 }, false],
  ['what is no TLV', proxied(IPV6, 9, Buffer.of(1, 255)), { address: '2001:db8::1', port: 9 }, false],
  ['the longest', proxied(IPV6, 9, Buffer.alloc(484)), { address: '2001:db8::1', port: 9 }, false],
  ['UNSPEC', proxyHeader({ family: 0x00, body: none }), undefined, false],
  ['UNSPEC with an address', proxyHeader({ family: 0x00, body: Buffer.alloc(40) }), undefined, false],
  ['UNSPEC over a stream', proxyHeader({ family: 0x01, body: none }), undefined, false],
  ['LOCAL', local(), undefined, true],
  ['LOCAL with TLVs', local(tlv), undefined, true],
  [
    'LOCAL with an address',
    proxyHeader({ command: LOCAL, family: 0x11, body: Buffer.alloc(12) }),
    undefined,
    true,
  ],
  [
    'LOCAL of a family for which it is too short',
    proxyHeader({ command: LOCAL, family: 0x21, body: none }),
    undefined,
    true,
  ],
  [
    'LOCAL of a family that there is not',
    proxyHeader({ command: LOCAL, family: 0xff, body: none }),
    undefined,
    true,
  ],
];

describe.each(GOOD)('%s', (_, header, source, isLocal) => {
  test('is read, whatever follows', () => {
    const read = { source, local: isLocal, length: header.length };
    expect(readProxyHeader(header)).toEqual(read);
    expect(readProxyHeader(Buffer.concat([header, Buffer.from('payload')]))).toEqual(read);
  });

  test('is waited for as long as a byte of it lacks', () => {
    for (let length = 0; length < header.length; length++) {
      expect(readProxyHeader(header.subarray(0, length))).toBe('more');
    }
  });

  test('comes in any pieces, and leaves what follows it', () => {
    const payload = fc.uint8Array({ maxLength: 40 });
    fc.assert(
      fc.property(payload, fc.array(fc.integer({ min: 1, max: 600 })), (bytes, sizes) => {
        const { found, rest } = readInPieces(Buffer.concat([header, bytes]), sizes);
        expect(found).toMatchObject({ source, local: isLocal, length: header.length });
        expect(rest).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 30 },
    );
  });
});

/** What a reader finds in a stream that comes in pieces of these sizes, then of one byte each. */
function readInPieces(stream: Buffer, sizes: readonly number[]) {
  const reader = new ProxyHeaderReader();
  let at = 0;
  for (let i = 0; at < stream.length; i++) {
    const piece = stream.subarray(at, (at += sizes[i] ?? 1));
    const found = reader.push(piece);
    expect(reader.begun).toBe(true);
    if (found === 'malformed') return { found, rest: none };
    if (found !== 'more') return { found, rest: Buffer.concat([found.rest, stream.subarray(at)]) };
  }
  return { found: 'more' as const, rest: none };
}

const good = proxied('192.0.2.7', 40_001);
const patched = (offset: number, byte: number) => {
  const bytes = Buffer.from(good);
  bytes[offset] = byte;
  return bytes;
};

/** The last column: the offset of the first wrong byte. */
const MALFORMED: [string, Buffer, number][] = [
  ...Array.from({ length: 12 }, (_, i): [string, Buffer, number] => [
    `the signature's byte ${i}`,
    patched(i, good[i]! ^ 0x20),
    i,
  ]),
  ['a frame of the gateway', Buffer.from('4d324d47', 'hex'), 0],
  ['version 1', Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n'), 0],
  ['version 1 with a command', patched(12, 0x11), 12],
  ['version 3', patched(12, 0x31), 12],
  ['an unknown command', patched(12, 0x22), 12],
  ['UDP over IPv4', patched(13, 0x12), 13],
  ['UDP over IPv6', patched(13, 0x22), 13],
  ['datagrams of no family', patched(13, 0x02), 13],
  ['IPv4 without a transport', patched(13, 0x10), 13],
  ['a UNIX socket', proxyHeader({ family: 0x31, body: Buffer.alloc(216) }), 13],
  ['a UNIX datagram', proxyHeader({ family: 0x32, body: Buffer.alloc(216) }), 13],
  ['an unknown family', patched(13, 0x41), 13],
  ['an unknown transport', patched(13, 0x13), 13],
  ['an address block too short for IPv4', proxyHeader({ family: 0x11, body: Buffer.alloc(11) }), 15],
  ['an address block too short for IPv6', proxyHeader({ family: 0x21, body: Buffer.alloc(35) }), 15],
  ['no address block', proxyHeader({ family: 0x11, body: none }), 15],
  ['one byte too long', proxyHeader({ family: 0x11, body: Buffer.alloc(521) }), 15],
  ['much too long', proxyHeader({ family: 0x11, body: none, length: 0xffff }), 14],
  ['LOCAL, too long', proxyHeader({ command: LOCAL, family: 0, body: none, length: 0x0300 }), 14],
];

test.each(MALFORMED)('malformed from its first wrong byte on: %s', (_, header, offset) => {
  expect(readProxyHeader(header.subarray(0, offset))).toBe('more');
  expect(readProxyHeader(header.subarray(0, offset + 1))).toBe('malformed');
  expect(readProxyHeader(header)).toBe('malformed');
});

test('whatever comes, nothing is thrown, and it is malformed or waits within 536 bytes', () => {
  const noise = fc.uint8Array({ maxLength: 700 });
  const nearly = fc
    .tuple(
      fc.constantFrom(LOCAL, PROXY),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: 1000 }),
      noise,
    )
    .map(([command, family, length, body]) =>
      proxyHeader({ command, family, length, body: Buffer.from(body) }),
    );
  fc.assert(
    fc.property(fc.oneof(noise, nearly), fc.array(fc.integer({ min: 1, max: 600 })), (bytes, sizes) => {
      const stream = Buffer.from(bytes);
      const whole = readProxyHeader(stream);
      const { found } = readInPieces(stream, sizes);
      if (typeof whole === 'string') expect(found).toBe(whole);
      else expect(found).toMatchObject(whole);
      if (whole === 'more') expect(stream.length).toBeLessThan(536);
    }),
    { numRuns: 1000 },
  );
});
