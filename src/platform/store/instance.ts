/** This process among those of all gateways of a database: a row with a heartbeat, by which others know that it lives. */
import type { Database } from './database';

const BEAT_INTERVAL = 2_000;
/** Seconds without a heartbeat after which others do not tell an instance any more that they took over from it. */
export const COUNTS_AS_GONE = 30;
/** The margin is for logins whose statements had begun before the heartbeat was there. */
const BEAT = `
  UPDATE m2m.instance AS i SET seen_at = now(), key_ids = $2
  FROM (SELECT seen_at FROM m2m.instance WHERE id = $1 AND started_at = $3) AS last WHERE i.id = $1
  RETURNING last.seen_at < now() - interval '${COUNTS_AS_GONE - 10} seconds'`;
/** In a database that was restored, a process that lives on may have written its row under an id still to come. */
const ENTER = `
  INSERT INTO m2m.instance (gateway, listen, key_ids, renews) VALUES ($1, $2, $3, true)
  ON CONFLICT DO NOTHING RETURNING id, started_at::text`;
/** For a process that stood still for so long that its row was deleted, or whose database was restored. */
const RENEW = `
  INSERT INTO m2m.instance (id, gateway, listen, key_ids, started_at, renews) OVERRIDING SYSTEM VALUE
  VALUES ($1, $2, $3, $4, $5, true) ON CONFLICT DO NOTHING`;

export interface InstanceOptions {
  readonly database: Database;
  readonly gateway: string;
  readonly keyIds: () => string[];
  /** So much time has passed since the last heartbeat that others may not have told this process something. */
  readonly onLate: () => void;
  readonly onError: (error: unknown) => void;
}

export class Instance {
  id = 0;
  private listen = '';
  /** As the database wrote it: by it a row is known as this process's own. */
  private startedAt = '';
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: InstanceOptions) {}

  /** @param listen host:port where terminals connect, for people */
  async start(listen: string): Promise<void> {
    this.listen = listen;
    await this.enter();
    this.timer = setInterval(() => void this.beat(), BEAT_INTERVAL).unref();
  }

  /** Where terminals connect, once that is known for certain. */
  async listening(listen: string): Promise<void> {
    this.listen = listen;
    await this.options.database.query({
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
    await this.options.database.query({
      text: `UPDATE m2m.instance SET seen_at = '-infinity' WHERE id = $1`,
      values: [id],
    });
  }

  private async enter(): Promise<void> {
    const { database, gateway, keyIds } = this.options;
    for (;;) {
      const { rows } = await database.query({ text: ENTER, values: [gateway, this.listen, keyIds()] });
      const [row] = rows;
      if (row === undefined) continue;
      [this.id, this.startedAt] = [Number(row[0]), row[1] as string];
      return;
    }
  }

  private async beat(): Promise<void> {
    const { database, keyIds, onLate, onError } = this.options;
    if (!database.available) return;
    try {
      const { rows } = await database.query({ text: BEAT, values: [this.id, keyIds(), this.startedAt] });
      const [row] = rows;
      if (row === undefined) await this.renew();
      if (row?.[0] !== false) onLate();
    } catch (error) {
      onError(error);
    }
  }

  /** In a database that was restored another process may have been given our number since. */
  private async renew(): Promise<void> {
    const { database, gateway, keyIds } = this.options;
    const values = [this.id, gateway, this.listen, keyIds(), this.startedAt];
    const { rowCount } = await database.query({ text: RENEW, values });
    if (rowCount === 0) await this.enter();
  }
}
