/** This process among those of all gateways of a database: a row with a heartbeat, by which others know that it lives. */
import type { Database } from './database';

/** Without a heartbeat for this long an instance counts as gone, and views show its terminals as not connected. */
const BEAT_INTERVAL = 2_000;
const BEAT = 'UPDATE m2m.instance SET seen_at = now(), key_ids = $2 WHERE id = $1';

export class Instance {
  id = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly database: Database,
    private readonly gateway: string,
    private readonly keyIds: () => string[],
    private readonly onError: (error: unknown) => void,
  ) {}

  /** @param listen host:port where terminals connect, for people */
  async start(listen: string): Promise<void> {
    const { rows } = await this.database.query({
      text: 'INSERT INTO m2m.instance (gateway, listen, key_ids) VALUES ($1, $2, $3) RETURNING id',
      values: [this.gateway, listen, this.keyIds()],
    });
    this.id = Number(rows[0]?.[0]);
    this.timer = setInterval(() => this.beat(), BEAT_INTERVAL).unref();
  }

  /** Where terminals connect, once that is known for certain. */
  async listening(listen: string): Promise<void> {
    await this.database.query({
      text: 'UPDATE m2m.instance SET listen = $2 WHERE id = $1',
      values: [this.id, listen],
    });
  }

  /** Says goodbye: from now on others need not tell this instance anything. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.bury(this.id);
  }

  /** Likewise for another process, which could not say it. */
  async bury(id: number): Promise<void> {
    await this.database.query({
      text: `UPDATE m2m.instance SET seen_at = '-infinity' WHERE id = $1`,
      values: [id],
    });
  }

  private beat(): void {
    if (!this.database.available) return;
    const values = [this.id, this.keyIds()];
    this.database.query({ text: BEAT, values }).catch(this.onError);
  }
}
