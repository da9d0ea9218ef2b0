/**
 * Receipts on their way into the database. The network keeps what is not dealt with and tells it once more, so that
 * nothing has to be kept here.
 */
import { DatabaseAway } from '../store/database';
import type { Outbox, TextName } from '../store/outbox';
import type { Receipt } from './transport';
import { pass, within } from './waiting';

/** SMSCs wait ten seconds for an answer, or longer. */
const PATIENCE = 8_000;
/** What comes while so many are under way is to be told once more. */
const MOST = 50;
/** Before another look for the text: at first, and at most. */
const FIRST_WAIT = 50;
const LONGEST_WAIT = 1_000;

export interface ReceiptDeskOptions {
  readonly outbox: Pick<Outbox, 'receipt'>;
  readonly onFound: (text: TextName, receipt: Receipt) => void;
  readonly onError: (error: unknown) => void;
}

export class ReceiptDesk {
  private readonly underWay = new Set<Promise<boolean>>();
  private closed = false;

  constructor(private readonly options: ReceiptDeskOptions) {}

  /** @returns whether it is dealt with for good: in the database, or not about any text of ours */
  take(receipt: Receipt): Promise<boolean> {
    if (this.closed || this.underWay.size >= MOST) return Promise.resolve(false);
    const settled = this.settle(receipt)
      .catch((error: unknown) => {
        this.options.onError(error);
        return false;
      })
      .finally(() => this.underWay.delete(settled));
    this.underWay.add(settled);
    // A statement that hangs keeps its place for longer than the network waits.
    return within(PATIENCE, settled).then((done) => done ?? false);
  }

  /** Takes no more. Resolves when all are settled that were under way. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.underWay);
  }

  /** A receipt may be here before the row says that the text was taken, and while the database is away. */
  private async settle(receipt: Receipt): Promise<boolean> {
    const until = performance.now() + PATIENCE;
    let cameAt: number | undefined;
    for (let wait = FIRST_WAIT; ; wait = Math.min(LONGEST_WAIT, wait * 2)) {
      const found = await this.options.outbox.receipt(receipt, cameAt).catch(nothingIfAway);
      if (found?.text !== undefined) this.options.onFound(found.text, receipt);
      if (found?.text !== undefined || found?.undecided === false) return true;
      cameAt ??= found?.cameAt;
      if (this.closed || performance.now() + wait > until) return false;
      await pass(wait);
    }
  }
}

function nothingIfAway(error: unknown): undefined {
  if (!(error instanceof DatabaseAway)) throw error;
}
