/**
 * Sends what stands in the outbox, at least once, in order for each terminal. All that it knows is in the rows, so
 * a worker that is killed leaves nothing behind that another one would not find.
 */
import type { Log } from '../ops/log';
import { DatabaseAway } from '../store/database';
import type { Outbox, TakenText, TextName } from '../store/outbox';
import { ReceiptDesk } from './receiptDesk';
import type { Handed, Receipt, Transport } from './transport';
import { pass, within } from './waiting';

/** Texts under way at once. */
const WINDOW = 20;
const LOOK_INTERVAL = 1_000;
const TIDY_INTERVAL = 10_000;
/** For what is under way when the gateway stops. */
const STOP_PATIENCE = 2_000;
/** Seconds. */
const FIRST_WAIT = 5;
const LONGEST_WAIT = 900;

export interface SmsWorkerOptions {
  readonly outbox: Outbox;
  /** Opened at start; undefined: operators fetch the texts in SQL. */
  readonly transport: () => Transport | undefined;
  /** Seconds after which a text is given up. */
  readonly giveUpAfter: number;
  readonly log: Log;
  readonly count: (result: 'delivered' | 'accepted' | 'failed' | 'given-up') => void;
  readonly available: () => boolean;
  readonly onError: (error: unknown) => void;
  /** 0 to 1. */
  readonly random: () => number;
}

export class SmsWorker {
  private transport: Transport | undefined;
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;
  private readonly underWay = new Set<Promise<void>>();
  private readonly receipts: ReceiptDesk;
  /** The peer wants no texts before this. */
  private pausedUntil = -Infinity;
  private again = false;
  private tidiedAt = -Infinity;

  constructor(private readonly options: SmsWorkerOptions) {
    const { outbox, onError } = options;
    const onFound = (text: TextName, receipt: Receipt) => this.tellReceipt(text, receipt);
    this.receipts = new ReceiptDesk({ outbox, onFound, onError });
  }

  start(): void {
    this.transport = this.options.transport();
    this.timer = setInterval(() => this.look(), LOOK_INTERVAL);
  }

  /** Looks at once, or once more after the look that is under way. */
  look(): void {
    if (this.timer === undefined || !this.options.available()) return;
    if (this.running !== undefined) {
      this.again = true;
      return;
    }
    this.running = this.work()
      .catch(this.options.onError)
      .finally(() => {
        this.running = undefined;
        if (!this.again) return;
        this.again = false;
        this.look();
      });
  }

  /** @returns whether it is dealt with for good */
  receipt(receipt: Receipt): Promise<boolean> {
    return this.receipts.take(receipt);
  }

  private tellReceipt(text: TextName, { delivered, state }: Receipt): void {
    this.options.count(delivered ? 'delivered' : 'failed');
    this.tell(text, delivered, delivered ? 'delivered' : `not delivered: ${state}`);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    await within(STOP_PATIENCE, Promise.all([this.running, this.receipts.close(), ...this.underWay]));
    await this.transport?.close();
    // Not for receipts: nobody can be answered any more, so they come again.
    await this.running;
    await Promise.all(this.underWay);
  }

  private async work(): Promise<void> {
    const { transport } = this;
    const { outbox } = this.options;
    await this.tidy();
    if (transport === undefined) return outbox.openAsked();
    while (this.timer !== undefined && transport.ready && performance.now() >= this.pausedUntil) {
      const room = WINDOW - this.underWay.size;
      const texts = room > 0 ? await outbox.take(room) : [];
      for (const text of texts) this.begin(transport, text);
      if (texts.length < room || room === 0) return;
    }
  }

  /** Each text goes its own way, so that a slow one keeps its own place only. */
  private begin(transport: Transport, text: TakenText): void {
    const sent = this.send(transport, text)
      .catch(this.options.onError)
      .finally(() => {
        this.underWay.delete(sent);
        this.look();
      });
    this.underWay.add(sent);
  }

  private async tidy(): Promise<void> {
    if (performance.now() - this.tidiedAt < TIDY_INTERVAL) return;
    this.tidiedAt = performance.now();
    for (const text of await this.options.outbox.tidy(this.options.giveUpAfter)) {
      this.options.count('given-up');
      this.tell(text, false, text.why);
    }
  }

  private async send(transport: Transport, text: TakenText): Promise<void> {
    const { outbox, count } = this.options;
    const handed = await transport.send(text);
    count(handed.kind);
    if (handed.kind === 'failed') {
      const wait = this.waitAfter(handed, text.attempts);
      await this.note(() => outbox.failed(text, handed.why, wait));
      return this.tell(text, false, `${handed.why}; again in ${Math.ceil(wait)} s`);
    }
    if (handed.kind === 'delivered') await this.note(() => outbox.delivered(text.id));
    else await this.note(() => outbox.accepted(text, handed.messageId));
    this.tell(text, true, handed.kind === 'delivered' ? 'delivered' : 'taken by the SMSC');
  }

  /** A peer that has too much to do says nothing about this text: it goes again as soon as others do. @returns seconds */
  private waitAfter({ pause }: Handed & { kind: 'failed' }, attempts: number): number {
    const spread = this.options.random() / 2;
    if (pause === undefined)
      return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempts - 1, 20)) * (0.5 + spread);
    const seconds = Math.min(LONGEST_WAIT, pause);
    this.pausedUntil = Math.max(this.pausedUntil, performance.now() + seconds * 1_000);
    return seconds * (1 + spread);
  }

  /** What became of a text outlasts a lost database: the text would go out again, and its receipt be nobody's. */
  private async note(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        if (!(error instanceof DatabaseAway) || this.timer === undefined) throw error;
        await pass(LOOK_INTERVAL);
      }
    }
  }

  private tell({ id, serial }: { id: number; serial: string }, done: boolean, detail: string): void {
    this.options.log.event('sms-sent', {
      message: `text ${id} to ${serial}: ${detail}`,
      outcome: done ? 'success' : 'failure',
      level: done ? 'info' : 'warn',
      detail,
      serial,
    });
  }
}
