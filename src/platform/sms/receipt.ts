/** Delivery receipts: what they say, and which of our texts they can be about. */
import type { Receipt } from './transport';

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

/** SMPP 3.4, sections 5.2.12 and 5.3.2.35. */
const MESSAGE_TYPE_BITS = 0x3c;
const RECEIPT_TYPE = 0x04;
const DELIVERED = 2;
/** ENROUTE and ACCEPTED; SCHEDULED of SMPP 5.0. */
const PENDING_STATES: ReadonlySet<number> = new Set([1, 6, 0]);
const DELIVERED_WORDS = /^DELIV(RD|ERED)$/;
const PENDING_WORDS = /^(ACCEPTD|ACCEPTED|ENROUTE|BUFFRED|BUFFERED|SCHEDULED)$/;
/** Data coding of UCS-2. */
const UCS2 = 8;
/** Numbers that can be compared by their ends. */
const LONG_ENOUGH = /^\+?(\d{7,20})$/;
/** As they are kept: without control characters, of which the database takes no NUL; of 65 octets by section 4.4.2. */
const MESSAGE_ID = /^\P{Cc}{1,255}$/u;

/** The id of a submit_sm_resp; empty: there is none that could be kept. */
export const keptId = (id: string | undefined): string => (id && MESSAGE_ID.test(id) ? id : '');

/**
 * From the TLVs where the SMSC sends them, else from the text that appendix B of SMPP 3.4 suggests.
 *
 * @returns undefined: none, or one that says that more is to come
 */
export function readReceipt(delivery: Delivery): Receipt | undefined {
  if ((delivery.esmClass & MESSAGE_TYPE_BITS) !== RECEIPT_TYPE) return undefined;
  const text = readText(delivery);
  const messageId = delivery.receiptedId || /\bid:(\S+)/i.exec(text)?.[1];
  const word = /\bstat:(\w{1,20})/i.exec(text)?.[1]?.toUpperCase();
  if (messageId === undefined || !MESSAGE_ID.test(messageId)) return undefined;
  const about = { messageId, phones: readPhones(delivery) };
  const { state } = delivery;
  if (state !== undefined) {
    if (PENDING_STATES.has(state)) return undefined;
    return { ...about, delivered: state === DELIVERED, state: `state ${state}` };
  }
  if (word === undefined || PENDING_WORDS.test(word)) return undefined;
  return { ...about, delivered: DELIVERED_WORDS.test(word), state: word };
}

/** Octets of ASCII, whatever alphabet is claimed, but for those that cannot be. */
function readText({ dataCoding, octets }: Delivery): string {
  const text = octets.toString('latin1').replaceAll('\x11', '_');
  return (dataCoding & 0x0f) === UCS2 ? text.replaceAll('\0', '') : text;
}

/** A receipt comes from the number that the text went to; some SMSCs leave the two as they were. */
function readPhones({ source, destination }: Delivery): string[] {
  const [from, to] = [source, destination].map((address) => LONG_ENOUGH.exec(address)?.[1]);
  if (from === undefined) return [];
  return to === undefined ? [from] : [from, to];
}

/**
 * With country code, with the network's prefix or without, a number ends in the same seven digits, or is shorter: a
 * text's has five at least.
 */
export const endings = (phones: readonly string[]): string[] =>
  phones.flatMap((digits) => [7, 6, 5].map((count) => digits.slice(-count)));

/**
 * The ids that a text may be known by: some SMSCs answer in hexadecimal and write receipts in decimal or the other way
 * round, with zeros before it or not. The receipt's own spelling comes first.
 */
export function spellings(id: string): string[] {
  const hex = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(id)?.[1];
  const decimal = /^\d{1,20}$/.test(id) ? id : undefined;
  const values = [decimal, hex && `0x${hex}`].filter((value) => value !== undefined).map(BigInt);
  return [...new Set([id, ...values.flatMap(spelled)])];
}

function spelled(value: bigint): string[] {
  const [decimal, hex] = [value.toString(), value.toString(16)];
  const lower = [hex, hex.padStart(8, '0')];
  return [decimal, decimal.padStart(10, '0'), ...lower, ...lower.map((one) => one.toUpperCase())];
}

/** Whether an id might be another text's in the other notation. */
export const isAmbiguous = (id: string): boolean => /^\d+$/.test(id);
