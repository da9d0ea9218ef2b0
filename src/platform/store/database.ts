/**
 * The database as the gateway sees it: there, or away.
 *
 * Away begins with the first failure that says that the server cannot be used now, and ends when a probe succeeds.
 * Meanwhile every statement fails at once with DatabaseAway, so that nothing queues up behind a dead server.
 */
import { Pool, type ClientBase, type PoolConfig, type QueryArrayConfig, type QueryArrayResult } from 'pg';
import { isAway, isReadOnly } from './databaseErrors';

/** The role that the service works as, once it has migrated. */
export const GATEWAY_ROLE = 'm2m_gateway';

/** Milliseconds, where no setting says otherwise (M2M_DATABASE_TIMEOUT). */
const TIMEOUT = 8_000;
const PROBE_INTERVAL = 250;

/** The database cannot be reached now. */
export class DatabaseAway extends Error {
  override readonly name = 'DatabaseAway';

  /** @param unsure whether the statement may have taken effect all the same */
  constructor(
    message: string,
    readonly unsure: boolean,
  ) {
    super(message);
  }
}

export interface DatabaseEvents {
  readonly lost: (reason: string) => void;
  readonly back: () => void;
}

export class Database {
  private readonly pool: Pool;
  private state: 'up' | 'away' | 'closed' = 'up';
  private probing = false;

  constructor(
    private readonly url: string,
    poolSize: number,
    private readonly events: DatabaseEvents,
    private readonly timeout = TIMEOUT,
  ) {
    this.pool = new Pool({ ...this.connection(), max: poolSize, onConnect });
    this.pool.on('error', (error) => void this.suspect(error));
  }

  /** Settings for a connection of somebody's own. */
  connection(): PoolConfig {
    return connectionSettings(this.url, this.timeout);
  }

  get available(): boolean {
    return this.state === 'up';
  }

  /** Runs one statement. Throws DatabaseAway where the server cannot be used, and other errors as they are. */
  async query(statement: Omit<QueryArrayConfig, 'rowMode'>): Promise<QueryArrayResult<unknown[]>> {
    if (this.state !== 'up') throw new DatabaseAway('the database is away', false);
    try {
      return await this.pool.query<unknown[]>({ ...statement, rowMode: 'array' });
    } catch (error) {
      if (!isAway(error)) throw error;
      this.lose(error);
      throw new DatabaseAway((error as Error).message, true);
    }
  }

  /** Opens connections ahead of the first terminals, so that no login pays for them. */
  async warmUp(connections: number): Promise<void> {
    await Promise.all(
      Array.from({ length: connections }, () => this.query({ text: 'SELECT pg_sleep(0.01)' })),
    );
  }

  async close(): Promise<void> {
    this.state = 'closed';
    await this.pool.end();
  }

  /** An idle connection broke: that may be the server, or that one connection only. */
  private async suspect(error: unknown): Promise<void> {
    if (this.state !== 'up' || this.probing) return;
    const alive = await this.probe();
    if (!alive) this.lose(error);
  }

  private lose(error: unknown): void {
    if (this.state !== 'up') return;
    this.state = 'away';
    this.events.lost(error instanceof Error ? error.message : String(error));
    void this.awaitReturn();
  }

  private async awaitReturn(): Promise<void> {
    while (this.state === 'away') {
      if (await this.probe()) {
        this.state = 'up';
        this.events.back();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PROBE_INTERVAL));
    }
  }

  private async probe(): Promise<boolean> {
    this.probing = true;
    try {
      const { rows } = await this.pool.query<[string]>({
        text: "SELECT current_setting('transaction_read_only')",
        rowMode: 'array',
      });
      return !isReadOnly(rows[0]?.[0]);
    } catch {
      return false;
    } finally {
      this.probing = false;
    }
  }
}

/**
 * Settings of every connection that the gateway opens.
 *
 * @param timeout milliseconds after which connecting, or a statement, is given up
 */
export function connectionSettings(url: string, timeout = TIMEOUT): PoolConfig {
  return {
    connectionString: url,
    keepAlive: true,
    connectionTimeoutMillis: timeout,
    query_timeout: timeout,
    // The server gives up before the client does, so that no abandoned statement holds locks.
    statement_timeout: timeout - 500,
    idle_in_transaction_session_timeout: timeout,
    application_name: 'm2m-gateway',
  };
}

/** The pool awaits what this returns before it lends the connection; its types do not know. */
const onConnect: PoolConfig['onConnect'] = (client) => becomeGateway(client) as unknown as void;

async function becomeGateway(client: ClientBase): Promise<void> {
  await client.query(`SET ROLE ${GATEWAY_ROLE}`);
}
