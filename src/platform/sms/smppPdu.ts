/**
 * The part of SMPP 3.4 that texts need, as bytes: one PDU out of a stream, the requests of ours, what a peer delivers.
 *
 * Written here because a peer's sloppiness must cost one PDU and not the link: packages decode everything in a PDU, and
 * end the session over a field that nobody asked for.
 */

export interface Pdu {
  readonly command: number;
  readonly status: number;
  readonly sequence: number;
  readonly body: Buffer;
}

/** Section 5.1.2.1. */
export const COMMAND = {
  genericNack: 0x8000_0000,
  submitSm: 0x04,
  deliverSm: 0x05,
  unbind: 0x06,
  bindTransceiver: 0x09,
  outbind: 0x0b,
  enquireLink: 0x15,
  alertNotification: 0x102,
  dataSm: 0x103,
} as const;
export const RESPONSE = 0x8000_0000;

/** Section 5.1.3. */
export const STATUS = {
  ok: 0,
  invalidCommand: 0x03,
  queueFull: 0x14,
  throttled: 0x58,
  /** ESME_RX_T_APPN: deliver it once more, later. */
  temporary: 0x64,
  /** ESME_RX_P_APPN: do not. */
  permanent: 0x65,
} as const;

const HEADER = 16;
/** Of message_payload's 64 KiB and what stands around it. */
const LONGEST = 70_000;

/** Sections 4.1.5, 4.4.1, 5.2.5, 5.2.12 and 5.2.19. */
const VERSION_3_4 = 0x34;
const TON_INTERNATIONAL = 1;
const NPI_ISDN = 1;
const DEFAULT_ALPHABET = 0;
const RECEIPT_WANTED = 1;

/** Section 5.3.2. */
const TLV = { receiptedMessageId: 0x001e, messagePayload: 0x0424, messageState: 0x0427 } as const;

/** Holds one PDU at most. */
export class PduFramer {
  private held: Buffer[] = [];
  private size = 0;
  private wanted = HEADER;

  /** @returns the PDUs that are whole now; undefined: this is no SMPP, and nothing after it can be */
  push(chunk: Buffer): Pdu[] | undefined {
    this.held.push(chunk);
    this.size += chunk.length;
    const whole: Pdu[] = [];
    while (this.size >= this.wanted) {
      const bytes = this.held.length === 1 ? this.held[0]! : Buffer.concat(this.held);
      const length = bytes.readUInt32BE(0);
      if (length < HEADER || length > LONGEST) return undefined;
      if (bytes.length >= length) whole.push(decode(bytes.subarray(0, length)));
      const rest = bytes.length >= length ? bytes.subarray(length) : bytes;
      this.wanted = bytes.length >= length ? HEADER : length;
      this.held = [rest];
      this.size = rest.length;
    }
    return whole;
  }
}

function decode(bytes: Buffer): Pdu {
  return {
    command: bytes.readUInt32BE(4),
    status: bytes.readUInt32BE(8),
    sequence: bytes.readUInt32BE(12),
    body: bytes.subarray(HEADER),
  };
}

export function encodePdu({ command, status, sequence, body }: Pdu): Buffer {
  const bytes = Buffer.alloc(HEADER + body.length);
  [bytes.length, command, status, sequence].forEach((word, i) => bytes.writeUInt32BE(word, i * 4));
  body.copy(bytes, HEADER);
  return bytes;
}

const cstring = (text: string): Buffer => Buffer.from(`${text}\0`, 'latin1');

export function bindBody(user: string, password: string): Buffer {
  const system = Buffer.concat([cstring(user), cstring(password), cstring('')]);
  return Buffer.concat([system, Buffer.of(VERSION_3_4, 0, 0), cstring('')]);
}

export function submitBody(msisdn: string, text: string): Buffer {
  const ton = msisdn.startsWith('+') ? TON_INTERNATIONAL : 0;
  // 3GPP TS 23.038: of what texts are written in, the underscore alone is not as in ASCII.
  const octets = Buffer.from(text.replaceAll('_', '\x11'), 'latin1');
  return Buffer.concat([
    Buffer.of(0, 0, 0, 0, ton, NPI_ISDN),
    cstring(msisdn.replace('+', '')),
    Buffer.of(0, 0, 0, 0, 0, RECEIPT_WANTED, 0, DEFAULT_ALPHABET, 0, octets.length),
    octets,
  ]);
}

/** As they are kept: without control characters, of which the database takes no NUL; of 65 octets by section 4.4.2. */
const MESSAGE_ID = /^\P{Cc}{1,255}$/u;
export const isMessageId = (id: string): boolean => MESSAGE_ID.test(id);

/** Of submit_sm_resp; empty: there is none that could be kept. */
export function readMessageId(body: Buffer): string {
  const id = untilNul(body);
  return isMessageId(id) ? id : '';
}

/** What deliver_sm and data_sm bring, as far as it is of use. */
export interface Delivery {
  readonly esmClass: number;
  readonly source: string;
  readonly destination: string;
  readonly dataCoding: number;
  readonly octets: Buffer;
  readonly receiptedId?: string | undefined;
  readonly state?: number | undefined;
}

/** @returns undefined: its fields do not fit into it */
export function readDelivery({ command, body }: Pdu): Delivery | undefined {
  const read = new Reader(body);
  read.cstring();
  read.skip(2);
  const source = read.cstring();
  read.skip(2);
  const destination = read.cstring();
  const esmClass = read.byte();
  read.skip(command === COMMAND.dataSm ? 1 : 2);
  if (command !== COMMAND.dataSm) readSchedule(read);
  const dataCoding = read.byte();
  const short = command === COMMAND.dataSm ? Buffer.alloc(0) : readShortMessage(read);
  if (read.short) return undefined;
  const tlvs = read.tlvs();
  const receiptedId = tlvs.get(TLV.receiptedMessageId);
  return {
    esmClass,
    source,
    destination,
    dataCoding,
    octets: short.length > 0 ? short : (tlvs.get(TLV.messagePayload) ?? short),
    receiptedId: receiptedId && untilNul(receiptedId),
    state: tlvs.get(TLV.messageState)?.[0],
  };
}

/** schedule_delivery_time, validity_period, registered_delivery, replace_if_present_flag. */
function readSchedule(read: Reader): void {
  read.cstring();
  read.cstring();
  read.skip(2);
}

function readShortMessage(read: Reader): Buffer {
  read.skip(1);
  return read.bytes(read.byte());
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

/** Goes on with nothing behind the end, and says so in `short`. */
class Reader {
  short = false;
  private at = 0;

  constructor(private readonly body: Buffer) {}

  bytes(count: number): Buffer {
    const found = this.body.subarray(this.at, this.at + count);
    this.short ||= found.length < count;
    this.at += count;
    return found;
  }

  skip(count: number): void {
    this.bytes(count);
  }

  byte(): number {
    return this.bytes(1)[0] ?? 0;
  }

  cstring(): string {
    const length = this.body.indexOf(0, this.at) - this.at;
    if (length >= 0) return this.bytes(length + 1).toString('latin1', 0, length);
    this.short = true;
    return '';
  }

  /** Up to the first that does not fit; the first of a tag counts. */
  tlvs(): Map<number, Buffer> {
    const found = new Map<number, Buffer>();
    while (this.body.length - this.at >= 4) {
      const head = this.bytes(4);
      const value = this.bytes(head.readUInt16BE(2));
      if (this.short) break;
      const tag = head.readUInt16BE(0);
      if (!found.has(tag)) found.set(tag, value);
    }
    return found;
  }
}
