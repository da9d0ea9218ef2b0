/** A load balancer's header in front of a connection in a capture. */
import fc from 'fast-check';
import { readCapture } from '../../src/terminal/capture/capture';
import { FIN, ipv4, pcap, SYN, tcp } from '../support/capture';
import { buildFrame, COMMAND, TAG, u32 } from '../support/oracle';
import { local, proxied, proxyHeader } from '../support/proxy';

const frame = (sequence: number): Buffer =>
  buildFrame({ command: COMMAND.HEARTBEAT, serial: 'T-1', sequence, tlvs: [[TAG.TIMESTAMP, u32(sequence)]] });
const [one, two] = [frame(1), frame(2)];

const syn = (up = true) => tcp(0, { up, flags: SYN });
const data = (sequence: number, payload: Buffer, up = true) => tcp(sequence, { payload, up });

function read(...segments: Buffer[]) {
  const file = pcap(segments.map((segment, i) => ({ bytes: ipv4(segment), at: 1e15 + i })));
  let at = 0;
  const source = (size: number): Buffer => file.subarray(at, (at += size));
  return [...readCapture(source, 7750)];
}

test.each([
  ['IPv4', proxied('203.0.113.7', 40123), { address: '203.0.113.7', port: 40123 }],
  ['IPv6', proxied('2001:db8:0:0:0:0:0:7', 9, Buffer.alloc(60)), { address: '2001:db8::7', port: 9 }],
  ['LOCAL', local(), undefined],
])('%s: is told, and skipped, in whatever pieces it comes', (_, header, source) => {
  const stream = Buffer.concat([header, one, two]);
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length), { maxLength: 6 }), (places) => {
      const cuts = [0, ...places.sort((a, b) => a - b), stream.length];
      const pieces = cuts.slice(1).map((to, i) => data(cuts[i]!, stream.subarray(cuts[i], to)));
      expect(read(syn(), ...pieces)).toMatchObject([
        { kind: 'proxy', direction: 'up', offset: 0, length: header.length, source },
        { kind: 'frame', offset: header.length, bytes: one, state: 'whole' },
        { kind: 'frame', offset: header.length + one.length, bytes: two, state: 'whole' },
      ]);
    }),
  );
});

test('a health check is nothing but one', () => {
  const events = read(syn(), data(0, local()), tcp(16, { flags: FIN }));
  expect(events).toMatchObject([{ kind: 'proxy', source: undefined, length: 16 }]);
});

test('one that is broken, cut short, or from the gateway is what it was before: no frame', () => {
  const datagram = proxyHeader({ family: 0x12, body: Buffer.alloc(12) });
  expect(read(syn(), data(0, datagram))).toMatchObject([{ kind: 'frame', state: 'refused' }]);
  const short = proxied('203.0.113.7', 1).subarray(0, 20);
  expect(read(syn(), data(0, short))).toMatchObject([{ kind: 'frame', bytes: short, state: 'open' }]);
  const down = data(0, proxied('203.0.113.7', 1), false);
  expect(read(syn(), syn(false), down)).toMatchObject([{ kind: 'frame', direction: 'down' }]);
});
