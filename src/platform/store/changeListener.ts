/**
 * The connection that hears notifications. It says nothing of its own accord, so that one which is silently dead
 * would never be noticed: it is asked now and then, and made anew where it does not answer.
 */
import { OwnConnection } from './connections';
import type { Database } from './database';

/** Milliseconds. */
const RETRY = 1_000;
const CHECK_INTERVAL = 5_000;

export class ChangeListener {
  private current: OwnConnection | undefined;
  private wake: () => void = () => undefined;
  private stopped = false;

  /** @param onNotification also called when it listens again: something may have been told meanwhile */
  constructor(
    private readonly database: Pick<Database, 'available' | 'connection'>,
    private readonly channel: string,
    private readonly onNotification: () => void,
  ) {}

  start(): void {
    void this.listen();
  }

  /** The server may be another one now. */
  renew(): void {
    this.current?.close();
    this.wake();
  }

  /** Does not wait for the server, also where a connection is being made. */
  stop(): void {
    this.stopped = true;
    this.renew();
  }

  private async listen(): Promise<void> {
    while (!this.stopped) {
      if (this.database.available) await this.listenOnce();
      await this.sleep(RETRY);
    }
  }

  /** Resolves when the connection has gone, or could not be made. */
  private async listenOnce(): Promise<void> {
    const own = new OwnConnection(this.database.connection());
    this.current = own;
    void own.gone.then(() => this.wake());
    try {
      await own.open();
      own.client.on('notification', this.onNotification);
      await this.subscribe(own);
      this.onNotification();
      await this.check(own);
    } catch {
      // Nobody waits for it: a look every second finds what it would have told.
    } finally {
      own.close();
      await own.gone;
    }
  }

  /** Throws where it does not answer. */
  private async check(own: OwnConnection): Promise<void> {
    while (!this.stopped && !own.isGone) {
      await this.sleep(CHECK_INTERVAL);
      // To subscribe again changes nothing, and has to be answered.
      if (!own.isGone) await this.subscribe(own);
    }
  }

  private async subscribe({ client }: OwnConnection): Promise<void> {
    await client.query(`LISTEN ${this.channel}`);
  }

  private async sleep(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
