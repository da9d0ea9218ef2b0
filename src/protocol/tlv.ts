/** The walk over a TLV body that all dialects share: tag u16, length u16, value. */
import { fault, type Fault } from './faults';

export const TLV_HEAD = 4;

export interface Tlv {
  readonly tag: number;
  readonly value: Buffer;
  /** Of the TLV's first byte, from the beginning of the frame. */
  readonly offset: number;
}

/** Splits `frame` from `start` to its end into TLVs, whose values are views into it; or tells the first fault. */
export function walkTlvs(frame: Buffer, start: number): Tlv[] | Fault {
  const found: Tlv[] = [];
  let offset = start;
  while (offset < frame.length) {
    if (frame.length - offset < TLV_HEAD) return fault('tlv-truncated', offset);
    const end = offset + TLV_HEAD + frame.readUInt16BE(offset + 2);
    if (end > frame.length) return fault('tlv-overrun', offset, hexTag(frame.readUInt16BE(offset)));
    found.push({
      tag: frame.readUInt16BE(offset),
      value: frame.subarray(offset + TLV_HEAD, end),
      offset,
    });
    offset = end;
  }
  return found;
}

export function writeTlv(target: Buffer, offset: number, tag: number, value: Buffer): number {
  target.writeUInt16BE(tag, offset);
  target.writeUInt16BE(value.length, offset + 2);
  target.set(value, offset + TLV_HEAD);
  return offset + TLV_HEAD + value.length;
}

export function hexTag(tag: number): string {
  return `0x${tag.toString(16).padStart(4, '0')}`;
}
