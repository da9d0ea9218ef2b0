import { setTimeout as sleep } from 'node:timers/promises';
import { sayingOf } from './errors';
import type { Home } from './home';
import { launch } from './launch';
import type { Parameters, Running } from './launch';
import { boundLog } from './log';
import { clearOrphan } from './orphan';
import type { Ownership } from './ownership';

/** A running embedded PostgreSQL. */
export interface EmbeddedServer {
  readonly url: string;
  /** The server's main process; another one after the server had to be started again. */
  readonly pid: number;
  /** Stops the server, resolves when its process is gone and the data directory is free; may be called again. */
  stop(): Promise<void>;
}

const RESTART_MS = 1_000;
const LOG_CHECK_MS = 60_000;
const LOG_LIMIT = 8 * 1024 * 1024;

/** Keeps the server of a data directory running until it is told to stop. */
export class Keeper implements EmbeddedServer {
  private readonly stopping = new AbortController();
  private readonly logTimer: NodeJS.Timeout;
  private stopped: Promise<void> | undefined;
  private reviving: Promise<void> = Promise.resolve();
  private lastStart = 0;
  private lastSaid = '';

  private constructor(
    private readonly home: Home,
    private readonly parameters: Parameters,
    private readonly ownership: Ownership,
    private readonly report: (why: string) => void,
    private running: Running,
  ) {
    this.lastStart = performance.now();
    this.logTimer = setInterval(
      () => void boundLog(home.log, LOG_LIMIT).catch(() => undefined),
      LOG_CHECK_MS,
    );
    this.logTimer.unref();
    this.watch();
  }

  /** Starts the server of a data directory that this process owns. */
  static async start(
    home: Home,
    parameters: Parameters,
    ownership: Ownership,
    report: (why: string) => void,
  ): Promise<Keeper> {
    await boundLog(home.log, LOG_LIMIT);
    const running = await launch(home, parameters, new AbortController().signal);
    return new Keeper(home, parameters, ownership, report, running);
  }

  get url(): string {
    return this.home.url;
  }

  get pid(): number {
    return this.running.pid;
  }

  stop(): Promise<void> {
    this.stopped ??= this.end();
    return this.stopped;
  }

  private async end(): Promise<void> {
    this.stopping.abort();
    clearInterval(this.logTimer);
    await this.reviving;
    this.running.end();
    await this.running.ended;
    // One whose watchdog was killed is still there.
    await clearOrphan(this.home).finally(() => this.ownership.release());
  }

  private watch(): void {
    void this.running.ended.then((why) => {
      if (this.stopping.signal.aborted) return;
      this.lastSaid = '';
      this.reviving = this.revive();
      this.report(`the embedded PostgreSQL in ${this.home.dataDir} is gone: ${why}`);
    });
  }

  /** Starts the server again, at most every second, until it runs or is to stop. */
  private async revive(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const pause = Math.max(0, this.lastStart + RESTART_MS - performance.now());
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      this.lastStart = performance.now();
      try {
        await clearOrphan(this.home);
        this.running = await launch(this.home, this.parameters, signal);
        return this.watch();
      } catch (error) {
        this.say(sayingOf(error));
      }
    }
  }

  /** Tells why the server does not come back, once for each reason. */
  private say(why: string): void {
    if (why === this.lastSaid || this.stopping.signal.aborted) return;
    this.lastSaid = why;
    this.report(why);
  }
}
