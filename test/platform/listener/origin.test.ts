import type { Socket } from 'node:net';
import { originOf, plainAddress } from '../../../src/platform/listener/origin';
import { readProxyHeader } from '../../../src/platform/listener/proxyHeader';
import { proxied } from '../../support/proxy';

/** What the database would take for an inet, and one peer of a load balancer by one name only. */
test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::ffff:1:2:3:4', '::ffff:1:2:3:4'],
  ['::ffff:0:102:304', '::ffff:0:102:304'],
  ['::ffff:1.2.3', '::ffff:1.2.3'],
  ['64:ff9b::192.0.2.7', '64:ff9b::192.0.2.7'],
  ['fe80::1%eth0', 'fe80::1'],
  ['fe80::1%2', 'fe80::1'],
  ['::1', '::1'],
  ['', ''],
])('%s is %s', (told, address) => {
  expect(plainAddress(told)).toBe(address);
  const socket = { remoteAddress: told, remotePort: 5 } as Socket;
  expect(originOf(socket, 1)).toEqual({ address, port: 5, acceptedAt: 1, local: false });
});

test('a socket that has gone tells nothing', () => {
  expect(originOf({} as Socket, 1)).toEqual({ address: '', port: 0, acceptedAt: 1, local: false });
});

test.each([
  ['0:0:0:ffff:1:2:3:4', '::ffff:1:2:3:4'],
  ['0:0:0:0:0:ffff:102:304', '1.2.3.4'],
  ['0:0:0:0:ffff:0:102:304', '::ffff:0:102:304'],
])('from a load balancer: %s is %s', (groups, address) => {
  expect(readProxyHeader(proxied(groups, 9))).toMatchObject({ source: { address, port: 9 } });
});
