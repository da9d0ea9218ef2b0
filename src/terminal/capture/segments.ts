/** From a link-layer packet to the TCP segment in it. What carries none is undefined, whatever its bytes. */
import { CaptureError, type CapturedPacket } from './source';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface Segment {
  readonly source: Endpoint;
  readonly target: Endpoint;
  readonly sequence: number;
  readonly syn: boolean;
  readonly fin: boolean;
  readonly reset: boolean;
  /** As far as it was captured. A view into the packet. */
  readonly payload: Buffer;
  /** Bytes of payload on the wire: more than `payload` has where the capture cut packets short. */
  readonly size: number;
}

interface IpPacket {
  readonly source: string;
  readonly target: string;
  readonly protocol: number;
  readonly payload: Buffer;
  /** Of the payload on the wire. */
  readonly size: number;
}

type LinkReader = (bytes: Buffer) => Buffer | undefined;

const TCP = 6;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
/** 802.1Q and 802.1ad. */
const VLAN_TAGS: ReadonlySet<number> = new Set([0x8100, 0x88a8]);
/** IPv4 is 2 everywhere; IPv6 differs by system: Linux, Windows, BSD, FreeBSD, macOS. */
const IP_FAMILIES: ReadonlySet<number> = new Set([2, 10, 23, 24, 28, 30]);

/** LINKTYPE_ numbers: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype-02.html */
const LINKS: ReadonlyMap<number, LinkReader> = new Map<number, LinkReader>([
  [0, (bytes) => behindFamily(bytes)], // BSD loopback, byte order of the machine that captured
  [1, (bytes) => behindEthertype(bytes, 12)],
  [12, (bytes) => bytes], // raw IP under the number that some systems write
  [14, (bytes) => bytes],
  [101, (bytes) => bytes], // raw IP
  [108, (bytes) => behindFamily(bytes)], // OpenBSD loopback, network byte order
  [113, (bytes) => behindEthertype(bytes, 14)], // Linux cooked v1
  [228, (bytes) => bytes], // raw IPv4
  [229, (bytes) => bytes], // raw IPv6
  [276, (bytes) => (isIp(bytes, 0) ? bytes.subarray(20) : undefined)], // Linux cooked v2
]);

/**
 * @returns undefined for everything but TCP in IPv4 or IPv6; fragments of IP packets are not put together
 * @throws CaptureError for a link type that is not known
 */
export function readSegment({ linkType, bytes }: CapturedPacket): Segment | undefined {
  const read = LINKS.get(linkType);
  if (read === undefined) throw new CaptureError(`link type ${linkType} is not known`);
  const packet = read(bytes);
  const ip = packet && readIp(packet);
  return ip?.protocol === TCP ? readTcp(ip) : undefined;
}

function isIp(bytes: Buffer, at: number): boolean {
  if (bytes.length < at + 2) return false;
  const type = bytes.readUInt16BE(at);
  return type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6;
}

/** What stands behind an EtherType at `at`, or behind the one of a VLAN tag there. */
function behindEthertype(bytes: Buffer, at: number): Buffer | undefined {
  const tagged = bytes.length >= at + 2 && VLAN_TAGS.has(bytes.readUInt16BE(at));
  const type = tagged ? at + 4 : at;
  return isIp(bytes, type) ? bytes.subarray(type + 2) : undefined;
}

function behindFamily(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 4) return undefined;
  const isFamily = IP_FAMILIES.has(bytes.readUInt32LE(0)) || IP_FAMILIES.has(bytes.readUInt32BE(0));
  return isFamily ? bytes.subarray(4) : undefined;
}

function readIp(bytes: Buffer): IpPacket | undefined {
  const version = bytes.length > 0 ? bytes.readUInt8(0) >> 4 : 0;
  if (version === 4) return readIpv4(bytes);
  return version === 6 ? readIpv6(bytes) : undefined;
}

/** RFC 791, section 3.1. */
function readIpv4(bytes: Buffer): IpPacket | undefined {
  const head = (bytes.readUInt8(0) & 15) * 4;
  if (head < 20 || bytes.length < head) return undefined;
  const isFragment = (bytes.readUInt16BE(6) & 0x3fff) !== 0;
  // 0 where the network card cuts the packet into smaller ones after it was captured.
  const total = bytes.readUInt16BE(2) || bytes.length;
  if (isFragment || total < head) return undefined;
  return {
    source: addressText(bytes.subarray(12, 16)),
    target: addressText(bytes.subarray(16, 20)),
    protocol: bytes.readUInt8(9),
    payload: bytes.subarray(head, total),
    size: total - head,
  };
}

const IPV6_HEAD = 40;
/** Hop-by-hop, routing and destination options, which share one form (RFC 8200, section 4). */
const EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 60]);

function readIpv6(bytes: Buffer): IpPacket | undefined {
  if (bytes.length < IPV6_HEAD) return undefined;
  const end = bytes.readUInt16BE(4) === 0 ? bytes.length : IPV6_HEAD + bytes.readUInt16BE(4);
  let protocol = bytes.readUInt8(6);
  let at = IPV6_HEAD;
  while (EXTENSIONS.has(protocol)) {
    if (bytes.length < at + 8) return undefined;
    protocol = bytes.readUInt8(at);
    at += (bytes.readUInt8(at + 1) + 1) * 8;
  }
  if (at > end) return undefined;
  const [source, target] = [addressText(bytes.subarray(8, 24)), addressText(bytes.subarray(24, 40))];
  return { source, target, protocol, payload: bytes.subarray(at, end), size: end - at };
}

/** @param bytes 4 of them, or 16 */
export function addressText(bytes: Buffer): string {
  return bytes.length === 4 ? bytes.join('.') : ipv6Text(bytes);
}

/** RFC 5952: the longest run of two or more zero groups, the first of several, becomes `::`. */
function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  const text = groups.join(':');
  const runs = text.match(/\b0(:0)+\b/g) ?? [];
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '');
  if (longest === '') return text;
  const at = text.search(new RegExp(`\\b${longest}\\b`));
  const [before, behind] = [text.slice(0, at), text.slice(at + longest.length)];
  return `${before.replace(/:$/, '')}::${behind.replace(/^:/, '')}`;
}

/** RFC 9293, section 3.1. Checksums are not looked at: network cards fill them in after the capture. */
function readTcp({ source, target, payload, size }: IpPacket): Segment | undefined {
  if (payload.length < 20) return undefined;
  const head = (payload.readUInt8(12) >> 4) * 4;
  if (head < 20 || head > size) return undefined;
  const flags = payload.readUInt8(13);
  return {
    source: { address: source, port: payload.readUInt16BE(0) },
    target: { address: target, port: payload.readUInt16BE(2) },
    sequence: payload.readUInt32BE(4),
    fin: (flags & 1) !== 0,
    syn: (flags & 2) !== 0,
    reset: (flags & 4) !== 0,
    payload: payload.subarray(head),
    size: size - head,
  };
}
