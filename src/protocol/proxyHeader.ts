/**
 * The header with which a load balancer begins a connection, and tells whom it stands for: PROXY protocol, version 2
 * (HAProxy, "The PROXY protocol", 2020/03/05, section 2.2).
 */
export interface ProxyHeaderBytes {
  /** 4 or 16 bytes of address. Undefined: the connection's own address counts. */
  readonly source: { readonly address: Buffer; readonly port: number } | undefined;
  /** LOCAL: the load balancer speaks for itself, as in health checks. */
  readonly local: boolean;
  /** Bytes of the whole header. */
  readonly length: number;
}

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Offsets of what follows the signature: version and command, family and transport, the length of the rest. */
const COMMAND = 12;
const FAMILY = 13;
const LENGTH = 14;
const FIXED = 16;
/** "Both formats are designed to fit in the smallest TCP segment": 536 bytes. */
const LONGEST_REST = 536 - FIXED;
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;
/** Bytes of two addresses and two ports. Neither UNIX sockets nor datagrams come to a gateway's port. */
const ADDRESS_BYTES = new Map([
  [0x00, 0],
  [0x01, 0],
  [TCP_IPV4, 12],
  [TCP_IPV6, 36],
]);

/** What each byte behind the signature must be, judged as soon as it is there. */
const CHECKS: readonly ((bytes: Buffer) => boolean)[] = [
  (bytes) => bytes[COMMAND] === LOCAL || bytes[COMMAND] === PROXY,
  (bytes) => addressBytes(bytes) !== undefined,
  (bytes) => (bytes[LENGTH] as number) <= LONGEST_REST >> 8,
  (bytes) => {
    const rest = bytes.readUInt16BE(LENGTH);
    return rest <= LONGEST_REST && rest >= (addressBytes(bytes) ?? 0);
  },
];

/** @param bytes the beginning of a connection, as far as it is there; what follows the header is not looked at */
export function parseProxyHeader(bytes: Buffer): ProxyHeaderBytes | 'more' | 'malformed' {
  const signed = Math.min(bytes.length, SIGNATURE.length);
  if (SIGNATURE.compare(bytes, 0, signed, 0, signed) !== 0) return 'malformed';
  const judged = CHECKS.slice(0, bytes.length - signed);
  if (!judged.every((holds) => holds(bytes))) return 'malformed';
  if (bytes.length < FIXED) return 'more';
  const length = FIXED + bytes.readUInt16BE(LENGTH);
  if (bytes.length < length) return 'more';
  const local = bytes[COMMAND] === LOCAL;
  return { source: local ? undefined : sourceOf(bytes), local, length };
}

/** Undefined: this family and transport are not for us. The receiver of LOCAL has to ignore both. */
function addressBytes(bytes: Buffer): number | undefined {
  return bytes[COMMAND] === LOCAL ? 0 : ADDRESS_BYTES.get(bytes[FAMILY] as number);
}

function sourceOf(bytes: Buffer): ProxyHeaderBytes['source'] {
  switch (bytes[FAMILY]) {
    case TCP_IPV4:
      return { address: bytes.subarray(FIXED, FIXED + 4), port: bytes.readUInt16BE(FIXED + 8) };
    case TCP_IPV6:
      return { address: bytes.subarray(FIXED, FIXED + 16), port: bytes.readUInt16BE(FIXED + 32) };
    default:
      return undefined;
  }
}
