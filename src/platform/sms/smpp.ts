/**
 * Texts by SMPP 3.4 to an SMSC, over one transceiver session.
 *
 * Modes: away (a new try after a while that doubles up to half a minute), binding, bound (texts are taken, the link
 * is enquired), closed. Whatever goes wrong on a session ends it: the package's parser does not go on after an error.
 */
import { connect, type PDU, type Session } from 'smpp';
import type { Handed, OutgoingText, Receipt, Transport } from './transport';

/** Milliseconds. */
export interface SmppTimes {
  /** Within which a connection must stand, and a request be answered. */
  readonly answer: number;
  /** Between enquiries of the link. */
  readonly enquire: number;
  /** Before another try to connect: at first, and at most. */
  readonly firstWait: number;
  readonly longestWait: number;
}

const TIMES: SmppTimes = { answer: 10_000, enquire: 15_000, firstWait: 500, longestWait: 30_000 };
const UNBIND_TIMEOUT = 1_000;

/** Values of SMPP 3.4, sections 4.7.1, 5.2.5, 5.2.12 and 5.3.2.35. */
const VERSION_3_4 = 0x34;
const TON_INTERNATIONAL = 1;
const NPI_ISDN = 1;
const DEFAULT_ALPHABET = 0;
const RECEIPT_WANTED = 1;
const MESSAGE_TYPE_BITS = 0x3c;
const RECEIPT_TYPE = 0x04;
const DELIVERED = 2;
/** ENROUTE and ACCEPTED; SCHEDULED of SMPP 5.0. */
const PENDING_STATES: ReadonlySet<number> = new Set([1, 6, 0]);
/** As messages are named: without control characters, of which the database takes no NUL. */
const MESSAGE_ID = /^\P{Cc}+$/u;
const PENDING_WORDS = /^(ACCEPTD|ENROUTE|BUFFRED)$/;

export interface SmppOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly onReceipt: (receipt: Receipt) => void;
  /** Told once per change. */
  readonly onLink: (up: boolean, why: string) => void;
  readonly times?: SmppTimes;
}

export class Smpp implements Transport {
  private session: Session | undefined;
  private bound = false;
  private closed = false;
  private readonly times: SmppTimes;
  private wait: number;
  private retry: NodeJS.Timeout | undefined;
  private patience: NodeJS.Timeout | undefined;
  private enquiry: NodeJS.Timeout | undefined;
  private lastWhy = '';
  /** Settle the requests of this session that are not answered yet. */
  private readonly asked = new Set<() => void>();

  constructor(private readonly options: SmppOptions) {
    this.times = options.times ?? TIMES;
    this.wait = this.times.firstWait;
    this.open();
  }

  get ready(): boolean {
    return this.bound;
  }

  async send({ msisdn, text }: OutgoingText): Promise<Handed> {
    const international = msisdn.startsWith('+');
    const answer = await this.ask('submit_sm', {
      dest_addr_ton: international ? TON_INTERNATIONAL : 0,
      dest_addr_npi: NPI_ISDN,
      destination_addr: msisdn.replace('+', ''),
      data_coding: DEFAULT_ALPHABET,
      registered_delivery: RECEIPT_WANTED,
      short_message: text,
    });
    if (answer === undefined) return { kind: 'failed', why: 'the SMSC did not answer' };
    if (answer.command_status !== 0) return { kind: 'failed', why: `the SMSC refused: ${status(answer)}` };
    return { kind: 'accepted', messageId: answer.message_id ?? '' };
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    if (this.bound) await this.ask('unbind', {}, UNBIND_TIMEOUT);
    this.drop('closed');
  }

  private open(): void {
    const { host, port } = this.options;
    const session = connect({ host, port });
    this.session = session;
    this.patience = setTimeout(() => this.lost(session, 'no connection'), this.times.answer);
    session.on('connect', () => void this.bind(session));
    session.on('error', (error: NodeJS.ErrnoException) => this.lost(session, error.code ?? 'protocol error'));
    session.on('close', () => this.lost(session, 'connection closed'));
    session.on('unbind', (pdu: PDU) => {
      session.send(pdu.response());
      this.lost(session, 'the SMSC unbound');
    });
    session.on('enquire_link', (pdu: PDU) => session.send(pdu.response()));
    session.on('deliver_sm', (pdu: PDU) => this.take(session, pdu));
  }

  private async bind(session: Session): Promise<void> {
    const { user, password } = this.options;
    clearTimeout(this.patience);
    const fields = { system_id: user, password, interface_version: VERSION_3_4 };
    const answer = await this.ask('bind_transceiver', fields);
    if (session !== this.session) return;
    if (answer?.command_status !== 0)
      return this.lost(session, answer ? `bind refused: ${status(answer)}` : 'no answer to bind');
    this.bound = true;
    this.wait = this.times.firstWait;
    this.lastWhy = '';
    this.enquiry = setInterval(() => void this.enquire(session), this.times.enquire);
    this.options.onLink(true, 'bound');
  }

  private async enquire(session: Session): Promise<void> {
    const answer = await this.ask('enquire_link', {});
    if (answer === undefined) this.lost(session, 'no answer to enquire_link');
  }

  private ask(
    command: 'bind_transceiver' | 'submit_sm' | 'enquire_link' | 'unbind',
    fields: Record<string, unknown>,
    timeout = this.times.answer,
  ): Promise<PDU | undefined> {
    return new Promise((resolve) => {
      const settle = (pdu?: PDU): void => {
        clearTimeout(timer);
        this.asked.delete(settle);
        resolve(pdu);
      };
      const timer = setTimeout(settle, timeout);
      this.asked.add(settle);
      if (!this.session?.[command](fields, settle)) settle();
    });
  }

  private lost(session: Session, why: string): void {
    if (session !== this.session) return;
    this.drop(why);
    if (this.closed) return;
    this.retry = setTimeout(() => this.open(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.times.longestWait, this.wait * 2);
  }

  private drop(why: string): void {
    const { session, bound } = this;
    clearInterval(this.enquiry);
    clearTimeout(this.patience);
    this.session = undefined;
    this.bound = false;
    session?.destroy();
    for (const settle of this.asked) settle();
    if (this.closed || (!bound && why === this.lastWhy)) return;
    this.lastWhy = why;
    this.options.onLink(false, why);
  }

  private take(session: Session, pdu: PDU): void {
    session.send(pdu.response());
    const receipt = readReceipt(pdu);
    if (receipt !== undefined) this.options.onReceipt(receipt);
  }
}

function status({ command_status }: PDU): string {
  return `status 0x${command_status.toString(16).padStart(8, '0')}`;
}

/** From the TLVs where the SMSC sends them, else from the text that appendix B of SMPP 3.4 suggests. */
export function readReceipt(pdu: PDU): Receipt | undefined {
  if (((pdu.esm_class ?? 0) & MESSAGE_TYPE_BITS) !== RECEIPT_TYPE) return undefined;
  const text = String(pdu.short_message?.message ?? '');
  const messageId = pdu.receipted_message_id || /\bid:(\S+)/i.exec(text)?.[1];
  const state = pdu.message_state;
  const word = /\bstat:(\w+)/i.exec(text)?.[1]?.toUpperCase();
  if (messageId === undefined || !MESSAGE_ID.test(messageId)) return undefined;
  if (state !== undefined) {
    if (PENDING_STATES.has(state)) return undefined;
    return { messageId, delivered: state === DELIVERED, state: `state ${state}` };
  }
  if (word === undefined || PENDING_WORDS.test(word)) return undefined;
  return { messageId, delivered: word === 'DELIVRD', state: word };
}
