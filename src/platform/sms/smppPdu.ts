/**
 * PDUs of SMPP 3.4: cut out of a stream and told apart by their headers here, encoded and decoded by the package. A
 * body is decoded only where it is needed, and one that cannot be costs that one PDU.
 */
import { addCommand, addTLV, commands, commandsById, consts, PDU, tlvs, types } from 'smpp';
import type { Delivery } from './receipt';

export interface Pdu {
  /** As the package names it, such as deliver_sm. */
  readonly command: string;
  readonly isResponse: boolean;
  readonly status: number;
  readonly sequence: number;
  readonly bytes: Buffer;
}

const NOTHING = Buffer.alloc(0);
const HEADER = 16;
const RESPONSE = 0x8000_0000;
/** Of message_payload's 64 KiB and what stands around it. */
const LONGEST = 70_000;
PDU.maxLength = LONGEST;

/**
 * The package cuts off what does not fit, reads on in the next TLV where one is too short, and decodes texts by the
 * alphabet that is claimed: a receipt might say that another text was delivered. What receipts are read from it
 * therefore hands over as octets, all or none.
 */
function exactly(bytes: Buffer, at: number, length: number): Buffer {
  if (at + length > bytes.length) throw new RangeError('ends beyond its PDU');
  return bytes.subarray(at, at + length);
}
for (const tag of ['message_payload', 'message_state', 'receipted_message_id'] as const) {
  const { id, type } = tlvs[tag];
  addTLV(tag, { id, type: { ...type, read: exactly } });
}
const behindLength = (bytes: Buffer, at: number): Buffer => exactly(bytes, at + 1, bytes.readUInt8(at));
addCommand('deliver_sm', {
  ...commands.deliver_sm,
  params: { ...commands.deliver_sm.params, short_message: { type: { ...types.buffer, read: behindLength } } },
});

/** Holds one PDU at most. */
export class PduFramer {
  private held = NOTHING;

  /** @returns the PDUs that are whole now; undefined: this is no SMPP, and nothing after it can be */
  push(chunk: Buffer): Pdu[] | undefined {
    this.held = Buffer.concat([this.held, chunk]);
    const whole: Pdu[] = [];
    while (this.held.length >= HEADER) {
      const length = this.held.readUInt32BE(0);
      if (length < HEADER || length > LONGEST) return undefined;
      if (this.held.length < length) break;
      whole.push(readHeader(this.held.subarray(0, length)));
      this.held = this.held.subarray(length);
    }
    return whole;
  }
}

function readHeader(bytes: Buffer): Pdu {
  const id = bytes.readUInt32BE(4);
  return {
    command: commandsById[id]?.command ?? 'unknown',
    isResponse: id >= RESPONSE,
    status: bytes.readUInt32BE(8),
    sequence: bytes.readUInt32BE(12),
    bytes,
  };
}

/** @returns undefined: it cannot be decoded */
export function decode({ bytes }: Pdu): PDU | undefined {
  try {
    return new PDU(bytes);
  } catch {
    return undefined;
  }
}

export const bindFields = (user: string, password: string) => ({
  system_id: user,
  password,
  interface_version: 0x34,
});

export const submitFields = (msisdn: string, text: string) => ({
  dest_addr_ton: msisdn.startsWith('+') ? consts.TON.INTERNATIONAL : consts.TON.UNKNOWN,
  dest_addr_npi: consts.NPI.ISDN,
  destination_addr: msisdn.replace('+', ''),
  registered_delivery: consts.REGISTERED_DELIVERY.FINAL,
  data_coding: consts.ENCODING.SMSC_DEFAULT,
  // 3GPP TS 23.038: of what texts are written in, the underscore alone is not as in ASCII.
  short_message: Buffer.from(text.replaceAll('_', '\x11'), 'latin1'),
});

/** @returns undefined: it cannot be decoded, or has no end */
export function readDelivery(pdu: Pdu): Delivery | undefined {
  const fields = decode(pdu);
  const last = pdu.command === 'data_sm' ? fields?.data_coding : fields?.short_message;
  if (fields === undefined || last === undefined) return undefined;
  const { short_message: short = NOTHING, message_payload: payload } = fields;
  return {
    esmClass: fields.esm_class ?? 0,
    source: fields.source_addr ?? '',
    destination: fields.destination_addr ?? '',
    dataCoding: fields.data_coding ?? 0,
    octets: short.length > 0 ? short : (payload ?? short),
    receiptedId: fields.receipted_message_id?.toString('latin1').replace(/\0.*/s, ''),
    state: fields.message_state?.[0],
  };
}
