/** Networks in CIDR notation (RFC 4632, RFC 4291): who belongs to them. */
import { isIPv4, isIPv6 } from 'node:net';

export interface Network {
  readonly bits: 32 | 128;
  /** Its lowest address as a number. */
  readonly base: bigint;
  /** Bits that the addresses of the network have in common. */
  readonly prefix: number;
}

/**
 * @param text networks or single addresses, separated by commas
 * @returns undefined where one of them is neither, or has bits set behind its prefix, which is a slip of the pen
 */
export function parseNetworks(text: string): readonly Network[] | undefined {
  const networks = text.split(',').map((item) => parseNetwork(item.trim()));
  return networks.some((network) => network === undefined) ? undefined : (networks as Network[]);
}

/** @param address IPv4 or IPv6 as a socket tells it, also with a zone; anything else is in no network */
export function isWithin(networks: readonly Network[], address: string): boolean {
  const found = numberOf(address.replace(/%.*$/, ''));
  return networks.some(
    ({ bits, base, prefix }) =>
      bits === found?.bits && found.value >> BigInt(bits - prefix) === base >> BigInt(bits - prefix),
  );
}

/** Whether the two have an address in common: one of them is then within the other. */
export function overlap(one: Network, other: Network): boolean {
  if (one.bits !== other.bits) return false;
  const rest = BigInt(one.bits - Math.min(one.prefix, other.prefix));
  return one.base >> rest === other.base >> rest;
}

/**
 * What failed attempts and newcomers are counted by: who has one IPv6 address has all of its /64 (RFC 4291, section
 * 2.5.4), so that single ones would bound nothing.
 *
 * @param address IPv4 or IPv6 as a socket tells it
 */
export function sourceOf(address: string): string {
  if (!address.includes(':')) return address;
  const found = numberOf(address.replace(/[%/].*$/, ''));
  if (found === undefined) return address;
  const groups = [112n, 96n, 80n, 64n].map((shift) => ((found.value >> shift) & 0xffffn).toString(16));
  return `${groups.join(':')}::/64`;
}

function parseNetwork(text: string): Network | undefined {
  const [, address = '', length] = /^([0-9A-Fa-f:.]+)(?:\/([0-9]{1,3}))?$/.exec(text) ?? [];
  const found = numberOf(address);
  if (found === undefined) return undefined;
  const { bits, value: base } = found;
  const prefix = length === undefined ? bits : Number(length);
  // An IPv4 peer is never looked for under its mapped address (RFC 4291, section 2.5.5.2).
  if (prefix > bits || (bits === 128 && base >> 32n === 0xffffn)) return undefined;
  return BigInt.asUintN(bits - prefix, base) === 0n ? { bits, base, prefix } : undefined;
}

function numberOf(address: string): { readonly bits: 32 | 128; readonly value: bigint } | undefined {
  if (isIPv4(address)) return { bits: 32, value: joined(address.split('.').map(Number), 8n) };
  if (!isIPv6(address)) return undefined;
  // A URL writes an IPv6 address in groups only, without an IPv4 tail.
  const text = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = [], tail = []] = text.split('::').map((half) => half.split(':').filter(Boolean));
  const gap = Array<string>(8 - head.length - tail.length).fill('0');
  const groups = [...head, ...gap, ...tail].map((group) => parseInt(group, 16));
  return { bits: 128, value: joined(groups, 16n) };
}

function joined(parts: readonly number[], width: bigint): bigint {
  return parts.reduce((value, part) => (value << width) | BigInt(part), 0n);
}
