/**
 * Sends what stands in the outbox, at least once, in order for each terminal. All that it knows is in the rows, so
 * a worker that is killed leaves nothing behind that another one would not find.
 */
import type { Log } from '../ops/log';
import { DatabaseAway } from '../store/database';
import type { Outbox, TakenText, TextName } from '../store/outbox';
import type { Receipt, Transport } from './transport';

/** Texts under way at once. */
const WINDOW = 20;
const LOOK_INTERVAL = 1_000;
const RECEIPT_TRIES = 5;
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
  private again = false;
  private tidiedAt = -Infinity;

  constructor(private readonly options: SmsWorkerOptions) {}

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

  async receipt(receipt: Receipt): Promise<void> {
    try {
      const text = await this.findText(receipt);
      if (text === undefined) return;
      this.options.count(receipt.delivered ? 'delivered' : 'failed');
      this.tell(text, receipt.delivered, receipt.delivered ? 'delivered' : `not delivered: ${receipt.state}`);
    } catch (error) {
      this.options.onError(error);
    }
  }

  /** A receipt may be here before the row says that the text was taken, long before where the database is slow, or away. */
  private async findText(receipt: Receipt): Promise<TextName | undefined> {
    for (let tries = 0; tries < RECEIPT_TRIES; tries++) {
      const text = await this.options.outbox.receipt(receipt).catch(nothingIfAway);
      if (text !== undefined) return text;
      await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL * 2 ** tries).unref());
    }
    return undefined;
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    await this.running;
    await within(STOP_PATIENCE, this.settled());
    await this.transport?.close();
    await this.settled();
  }

  private async settled(): Promise<void> {
    await Promise.all(this.underWay);
  }

  private async work(): Promise<void> {
    const { transport } = this;
    const { outbox } = this.options;
    await this.tidy();
    if (transport === undefined) return outbox.openAsked();
    while (this.timer !== undefined && transport.ready) {
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
    const { outbox, random, count } = this.options;
    const handed = await transport.send(text);
    count(handed.kind);
    if (handed.kind === 'failed') {
      const wait =
        Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(text.attempts - 1, 20)) * (0.5 + random() / 2);
      await outbox.failed(text.id, handed.why, wait);
      return this.tell(text, false, `${handed.why}; again in ${Math.ceil(wait)} s`);
    }
    if (handed.kind === 'delivered') await outbox.delivered(text.id);
    else await outbox.accepted(text.id, handed.messageId);
    this.tell(text, true, handed.kind === 'delivered' ? 'delivered' : 'taken by the SMSC');
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

function nothingIfAway(error: unknown): undefined {
  if (!(error instanceof DatabaseAway)) throw error;
}

/** Waits for that, but not longer than so many milliseconds. */
async function within(ms: number, what: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([what, late]);
  clearTimeout(timer);
}
