/**
 * `m2m emulate run`: a terminal that wants to stay logged in, whatever its dialect.
 *
 * Modes: visiting (one connection: log in, beat until something ends it), waiting (before the next visit), over.
 * It ends well by a signal or when its time is over while it is logged in; it fails where the first connection or
 * login fails, or where the gateway says, signed, that there is no coming back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ConnectionError } from '../terminal/connection';
import { waitBefore, type Next } from '../terminal/policy';
import { failed } from './errors';
import type { Output } from './output';

export interface StayOptions {
  /** Seconds, instead of what the gateway tells, or of what is usual in WMMP 3.0. */
  readonly heartbeat?: number;
  /** Seconds. */
  readonly for?: number;
}

export abstract class Stay {
  protected readonly stop = new AbortController();
  protected wasLoggedIn = false;
  /** Tries since the last success. */
  protected attempt = 0;
  private timeIsOver = false;

  /** @param time seconds until its end; undefined: it has none */
  constructor(
    private readonly time: number | undefined,
    protected readonly output: Output,
  ) {}

  async run(): Promise<void> {
    const onSignal = (): void => this.stop.abort();
    const timer = this.time && setTimeout(() => this.endOfTime(), this.time * 1000);
    // Not once: npx hands a signal on that the terminal has sent already, and LOGOUT must not be cut short by it.
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    try {
      await this.visits();
    } finally {
      clearTimeout(timer);
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    }
  }

  /** One connection from beginning to end; undefined: it was to stop, and could. */
  protected abstract visit(): Promise<Next | undefined>;

  protected loggedIn(): void {
    this.wasLoggedIn = true;
    this.attempt = 0;
  }

  private endOfTime(): void {
    this.timeIsOver = true;
    this.stop.abort();
  }

  private async visits(): Promise<void> {
    while (!this.stop.signal.aborted) {
      const next = await this.visit().catch((error: unknown) => this.afterLoss(error));
      if (next === undefined) return;
      if (next.kind === 'stop') throw failed(next.why);
      const data = { wait_ms: next.wait };
      this.output.event('waiting', data, `connecting again in ${next.wait / 1000} s`);
      await pause(next.wait, this.stop.signal);
    }
    if (this.timeIsOver) throw failed('the time is over, and the terminal is not logged in');
    if (!this.wasLoggedIn) throw failed('stopped before the terminal was logged in');
  }

  private afterLoss(error: unknown): Next {
    if (!(error instanceof ConnectionError)) throw error;
    if (this.stop.signal.aborted) return { kind: 'reconnect', wait: 0 };
    // Nothing has worked yet: a person is better served by the reason than by a terminal that waits.
    if (!this.wasLoggedIn) throw error;
    this.output.event('lost', { text: error.message }, error.message);
    return { kind: 'reconnect', wait: waitBefore(this.attempt++, undefined, Math.random()) };
  }
}

/** The longest that a timer takes. */
export const FOR_EVER_MS = 2_147_483_647;

/** What ends one connection: a signal to stop, its loss, or what else whoever is on it takes for an end. */
export class Visit {
  private readonly ending = new AbortController();
  private readonly whenOver: Promise<undefined>;
  private waking = new AbortController();
  lost: ConnectionError | undefined;
  readonly over: AbortSignal;

  constructor(stop: AbortSignal) {
    this.over = AbortSignal.any([stop, this.ending.signal]);
    this.whenOver = new Promise((resolve) => {
      this.over.addEventListener('abort', () => resolve(undefined), { once: true });
    });
  }

  end(): void {
    this.ending.abort();
  }

  /** The connection is closed. @param error undefined: in an orderly way */
  lose(error: ConnectionError | undefined): void {
    this.lost ??= error ?? new ConnectionError('the gateway closed the connection');
    this.end();
  }

  /** Ends a pause before its time. */
  wake(): void {
    this.waking.abort();
  }

  /** Until the time is over, the visit is, or something wakes it. */
  async pause(milliseconds: number): Promise<void> {
    if (this.waking.signal.aborted) this.waking = new AbortController();
    await pause(milliseconds, AbortSignal.any([this.over, this.waking.signal]));
  }

  /** Undefined as soon as the visit is over, whatever becomes of `work`. */
  unlessOver<T>(work: Promise<T>): Promise<T | undefined> {
    return Promise.race([work, this.whenOver]);
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
