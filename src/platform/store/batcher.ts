/**
 * Group commit: what arrives close together shares one statement.
 *
 * Modes: idle (nothing has come for a while: an item leaves at once, so a lone login does not wait), gathering
 * (items wait for the window or for the batch to fill), under way (a statement costs the same for a few items as for
 * many: they wait for the one that is out to return, unless they are enough for another beside it), and saturated
 * (as many batches under way as allowed).
 *
 * Of items with the same key one is under way at a time: an UPDATE may touch a row only once, and outcomes must be
 * heard of in the order in which the database made them, or the older of two logins would end the newer one.
 */
export interface BatcherOptions<In, Out> {
  /** Handles a batch; outcomes in the order of the items. A rejection is every item's, a Rejected one item's. */
  readonly run: (items: readonly In[]) => Promise<readonly (Out | Rejected)[]>;
  readonly keyOf: (item: In) => unknown;
  /** Items in one batch. */
  readonly maxItems: number;
  /** Batches under way at once. */
  readonly maxUnderWay: number;
  /** Items that are worth a batch beside another one. */
  readonly enough: number;
  /** Milliseconds that an item waits for company under load. */
  readonly window: number;
}

/** In place of an outcome. */
export class Rejected {
  constructor(readonly error: unknown) {}
}

interface Waiting<In, Out> {
  readonly item: In;
  readonly resolve: (outcome: Out) => void;
  readonly reject: (error: unknown) => void;
}

/** Milliseconds without a batch after which the next item finds the batcher idle. */
const IDLE_AFTER = 5;

export class Batcher<In, Out> {
  private waiting: Waiting<In, Out>[] = [];
  private underWay = 0;
  private readonly keysUnderWay = new Set<unknown>();
  private lastLeft = -Infinity;
  private timer: NodeJS.Timeout | NodeJS.Immediate | undefined;

  constructor(private readonly options: BatcherOptions<In, Out>) {}

  /** Items that wait for their batch to leave. */
  get depth(): number {
    return this.waiting.length;
  }

  /** Resolves when nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.waiting.length > 0 || this.underWay > 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }

  submit(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      this.schedule();
    });
  }

  private schedule(): void {
    const { maxUnderWay, maxItems, enough } = this.options;
    if (this.underWay >= maxUnderWay || (this.underWay > 0 && this.waiting.length < enough)) return;
    if (this.waiting.length >= maxItems) this.leave();
    else
      this.timer ??= this.isIdle() ? setImmediate(this.leave) : setTimeout(this.leave, this.options.window);
  }

  private isIdle(): boolean {
    return this.underWay === 0 && performance.now() - this.lastLeft > IDLE_AFTER;
  }

  private readonly leave = (): void => {
    this.timer = undefined;
    if (this.waiting.length === 0 || this.underWay >= this.options.maxUnderWay) return;
    const batch = this.takeBatch();
    // All that waits is behind its own key: it goes on when that returns.
    if (batch.length === 0) return;
    this.underWay++;
    this.lastLeft = performance.now();
    void this.settle(batch);
    if (this.waiting.length > 0) this.schedule();
  };

  private takeBatch(): Waiting<In, Out>[] {
    const batch: Waiting<In, Out>[] = [];
    const rest: Waiting<In, Out>[] = [];
    const keys = this.keysUnderWay;
    for (const one of this.waiting) {
      const key = this.options.keyOf(one.item);
      const fits = batch.length < this.options.maxItems && !keys.has(key);
      (fits ? batch : rest).push(one);
      if (fits) keys.add(key);
    }
    this.waiting = rest;
    return batch;
  }

  private async settle(batch: readonly Waiting<In, Out>[]): Promise<void> {
    try {
      const outcomes = await this.options.run(batch.map(({ item }) => item));
      batch.forEach(({ resolve, reject }, i) => {
        const outcome = outcomes[i];
        if (outcome instanceof Rejected) reject(outcome.error);
        else resolve(outcome as Out);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      this.underWay--;
      for (const { item } of batch) this.keysUnderWay.delete(this.options.keyOf(item));
      if (this.waiting.length > 0) this.schedule();
    }
  }
}
