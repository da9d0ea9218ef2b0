/**
 * Texts by SMPP 3.4 to an SMSC, over one transceiver session.
 *
 * Modes: away (a new try after a while that doubles up to half a minute), binding, bound (texts are taken, the link
 * is enquired), closed. What is delivered to us is answered when it is in the database, or with an error that makes
 * the SMSC deliver it once more.
 */
import { errors } from 'smpp';
import { keptId, readReceipt } from './receipt';
import { bindFields, decode, readDelivery, submitFields, type Pdu } from './smppPdu';
import { SmppSession } from './smppSession';
import type { Handed, OutgoingText, TakeReceipt, Transport } from './transport';

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
/** Seconds without texts for an SMSC that has too many. */
const THROTTLED_PAUSE = 1;

export interface SmppOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly onReceipt: TakeReceipt;
  /** Told once per change. */
  readonly onLink: (up: boolean, why: string) => void;
  readonly times?: SmppTimes;
}

export class Smpp implements Transport {
  private session: SmppSession | undefined;
  private boundAt: number | undefined;
  private closed = false;
  private readonly times: SmppTimes;
  private wait: number;
  private retry: NodeJS.Timeout | undefined;
  private patience: NodeJS.Timeout | undefined;
  private enquiry: NodeJS.Timeout | undefined;
  private lastWhy = '';

  constructor(private readonly options: SmppOptions) {
    this.times = options.times ?? TIMES;
    this.wait = this.times.firstWait;
    this.open();
  }

  get ready(): boolean {
    return this.boundAt !== undefined;
  }

  async send({ msisdn, text }: OutgoingText): Promise<Handed> {
    const { session } = this;
    const answer = await session?.ask('submit_sm', submitFields(msisdn, text), this.times.answer);
    if (answer === undefined) return { kind: 'failed', why: 'the SMSC did not answer' };
    if (answer.status === 0) return { kind: 'accepted', messageId: keptId(decode(answer)?.message_id) };
    const why = `the SMSC refused: ${shown(answer)}`;
    const full = answer.status === errors.ESME_RTHROTTLED || answer.status === errors.ESME_RMSGQFUL;
    return { kind: 'failed', why, ...(full && { pause: THROTTLED_PAUSE }) };
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    if (this.ready) await this.session?.ask('unbind', {}, UNBIND_TIMEOUT);
    this.drop('closed');
  }

  private open(): void {
    const { host, port } = this.options;
    const session: SmppSession = new SmppSession(host, port, {
      onConnect: () => void this.bind(session),
      onRequest: (request) => this.serve(session, request),
      onEnd: (why) => this.lost(session, why),
    });
    this.session = session;
    this.patience = setTimeout(() => session.end('no connection'), this.times.answer);
  }

  private async bind(session: SmppSession): Promise<void> {
    const { user, password } = this.options;
    clearTimeout(this.patience);
    const answer = await session.ask('bind_transceiver', bindFields(user, password), this.times.answer);
    if (session !== this.session) return;
    if (answer?.status !== 0)
      return session.end(answer ? `bind refused: ${shown(answer)}` : 'no answer to bind');
    this.boundAt = performance.now();
    this.lastWhy = '';
    this.enquiry = setInterval(() => void this.enquire(session), this.times.enquire);
    this.options.onLink(true, 'bound');
  }

  private async enquire(session: SmppSession): Promise<void> {
    const answer = await session.ask('enquire_link', {}, this.times.answer);
    if (answer === undefined) session.end('no answer to enquire_link');
  }

  private lost(session: SmppSession, why: string): void {
    if (session !== this.session) return;
    // Who binds only to hang up is no reason to begin anew every moment.
    const stoodFor = performance.now() - (this.boundAt ?? Infinity);
    if (stoodFor > this.times.longestWait) this.wait = this.times.firstWait;
    this.drop(why);
    if (this.closed) return;
    this.retry = setTimeout(() => this.open(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.times.longestWait, this.wait * 2);
  }

  private drop(why: string): void {
    const { session, ready } = this;
    clearInterval(this.enquiry);
    clearTimeout(this.patience);
    this.session = undefined;
    this.boundAt = undefined;
    session?.destroy();
    if (this.closed || (!ready && why === this.lastWhy)) return;
    this.lastWhy = why;
    this.options.onLink(false, why);
  }

  private serve(session: SmppSession, request: Pdu): void {
    switch (request.command) {
      case 'deliver_sm':
      case 'data_sm':
        return void this.take(session, request);
      case 'enquire_link':
        return session.reply(request);
      case 'unbind':
        session.reply(request);
        return session.end('the SMSC unbound');
      case 'outbind':
      case 'alert_notification':
        // Sections 4.1.7.1 and 4.12.1: these have no answer.
        return;
      default:
        return session.nack(request, errors.ESME_RINVCMDID);
    }
  }

  private async take(session: SmppSession, request: Pdu): Promise<void> {
    session.reply(request, await this.judge(request));
  }

  private async judge(request: Pdu): Promise<number> {
    const delivery = readDelivery(request);
    if (delivery === undefined) return errors.ESME_RX_P_APPN;
    const receipt = readReceipt(delivery);
    if (receipt === undefined) return errors.ESME_ROK;
    return (await this.options.onReceipt(receipt)) ? errors.ESME_ROK : errors.ESME_RX_T_APPN;
  }
}

function shown({ status }: Pdu): string {
  return `status 0x${status.toString(16).padStart(8, '0')}`;
}
