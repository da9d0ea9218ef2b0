/** Headers of the PROXY protocol, version 2, written apart from the gateway's own reader of them. */
import { isIPv4 } from 'node:net';

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
export const LOCAL = 0x20;
export const PROXY = 0x21;

/** Any header: what is wrong on purpose is up to the caller. */
export function proxyHeader({
  command = PROXY,
  family,
  body,
  length = body.length,
}: {
  command?: number;
  family: number;
  body: Buffer;
  length?: number;
}): Buffer {
  const fixed = Buffer.from([command, family, length >> 8, length & 255]);
  return Buffer.concat([Buffer.from(SIGNATURE, 'latin1'), fixed, body]);
}

/** TCP from an address and port. An IPv6 address is written with all eight groups. */
export function proxied(address: string, port: number, more = Buffer.alloc(0)): Buffer {
  const source = isIPv4(address)
    ? Buffer.from(address.split('.').map(Number))
    : Buffer.from(
        address
          .split(':')
          .map((group) => group.padStart(4, '0'))
          .join(''),
        'hex',
      );
  const ports = Buffer.from([port >> 8, port & 255, 0x1e, 0x46]);
  const body = Buffer.concat([source, Buffer.alloc(source.length, 7), ports, more]);
  return proxyHeader({ family: isIPv4(address) ? 0x11 : 0x21, body });
}

/** A load balancer's health check. */
export function local(body = Buffer.alloc(0)): Buffer {
  return proxyHeader({ command: LOCAL, family: 0, body });
}
