/** The header of the PROXY protocol as a listener takes it: in pieces, with the address as text. */
import { SocketAddress } from 'node:net';
import { parseProxyHeader, type ProxyHeaderBytes } from '../../protocol/proxyHeader';
import { plainAddress } from './origin';

export interface ProxyHeader extends Omit<ProxyHeaderBytes, 'source'> {
  /** Undefined: the connection's own address counts. */
  readonly source: { readonly address: string; readonly port: number } | undefined;
}

/** @param bytes the beginning of a connection, as far as it is there; what follows the header is not looked at */
export function readProxyHeader(bytes: Buffer): ProxyHeader | 'more' | 'malformed' {
  const header = parseProxyHeader(bytes);
  if (typeof header === 'string') return header;
  const { source } = header;
  return { ...header, source: source && { ...source, address: addressText(source.address) } };
}

/** The header of one connection, in whatever pieces it comes. */
export class ProxyHeaderReader {
  private held: Buffer = Buffer.alloc(0);

  /** Whether anything has come. */
  get begun(): boolean {
    return this.held.length > 0;
  }

  /** Not to be called again once the header is whole or malformed. @returns rest: bytes behind the header */
  push(chunk: Buffer): (ProxyHeader & { readonly rest: Buffer }) | 'more' | 'malformed' {
    this.held = Buffer.concat([this.held, chunk]);
    const header = readProxyHeader(this.held);
    if (typeof header === 'string') return header;
    return { ...header, rest: this.held.subarray(header.length) };
  }
}

/** As the operating system writes the address of a socket. */
function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return plainAddress(new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address);
}
