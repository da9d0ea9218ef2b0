import { isWithin, overlap, parseNetworks, sourceOf } from '../../../src/platform/config/networks';

test.each([
  ['10.0.0.0/8', ['10.0.0.0', '10.255.255.255'], ['9.255.255.255', '11.0.0.0', '::ffff:10.0.0.1', '::a00:1']],
  ['192.0.2.7', ['192.0.2.7'], ['192.0.2.6', '192.0.2.8']],
  ['192.0.2.6/31', ['192.0.2.6', '192.0.2.7'], ['192.0.2.5', '192.0.2.8']],
  ['128.0.0.0/1', ['128.0.0.0', '255.255.255.255'], ['127.255.255.255']],
  ['0.0.0.0/0', ['0.0.0.0', '255.255.255.255'], ['::', '::1']],
  ['2001:db8::/33', ['2001:db8::', '2001:db8:7fff:ffff::'], ['2001:db8:8000::', '2001:db9::', '0.0.0.0']],
  ['2001:DB8::1', ['2001:db8::1', '2001:db8:0:0:0:0:0:1'], ['2001:db8::', '2001:db8::2']],
  ['fe80::/10', ['fe80::1%eth0', 'febf::'], ['fec0::']],
  ['64:ff9b::192.0.2.0/120', ['64:ff9b::c000:2ff'], ['64:ff9b::c000:300']],
  ['::/0', ['::', 'ffff::'], ['0.0.0.0']],
  ['10.0.0.1, 2001:db8::/32 ,192.0.2.0/24', ['10.0.0.1', '2001:db8::5', '192.0.2.9'], ['10.0.0.2']],
])('%s', (text, inside, outside) => {
  const networks = parseNetworks(text)!;
  expect(inside.filter((address) => !isWithin(networks, address))).toEqual([]);
  expect(outside.filter((address) => isWithin(networks, address))).toEqual([]);
  // As the socket of a peer that has gone already.
  expect(isWithin(networks, '')).toBe(false);
});

test.each([
  ',',
  '10.0.0.1,',
  '10.0.0.1;10.0.0.2',
  '10.0.0.1/8',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/-1',
  '10.0.0/8',
  '10.0.0.256',
  '010.0.0.1',
  '2001:db8::1/64',
  '2001:db8::/129',
  '2001:db8:::/32',
  'fe80::1%eth0',
  '[::1]',
  '::ffff:10.0.0.1',
  '::ffff:10.0.0.0/104',
  'balancer.example',
  '*',
])('%s is refused', (text) => {
  expect(parseNetworks(text)).toBeUndefined();
});

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['2001:db8::5', '2001:db8:0:0::/64'],
  ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
  ['2001:db8:1:2:3::', '2001:db8:1:2::/64'],
  ['2001:db8::/64', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['', ''],
])('%s is counted as %s', (address, source) => {
  expect(sourceOf(address)).toBe(source);
});

test.each([
  ['10.0.0.0/8', '10.1.2.3', true],
  ['10.1.2.3', '10.0.0.0/8', true],
  ['10.1.2.3', '10.1.2.4', false],
  ['2001:db8::5', '2001:db8:0:0::/64', true],
  ['2001:db8:0:1::/64', '2001:db8:0:0::/64', false],
  ['0.0.0.0/0', '::/0', false],
])('%s and %s overlap: %s', (one, other, expected) => {
  const [first, second] = [parseNetworks(one)![0]!, parseNetworks(other)![0]!];
  expect(overlap(first, second)).toBe(expected);
});
