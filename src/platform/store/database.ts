/**
 * The database as the gateway sees it: there, or away.
 *
 * Away begins with the first failure that says that the server cannot be used now, and ends when a probe succeeds.
 * Meanwhile every statement fails at once with DatabaseAway, so that nothing queues up behind a dead server. What
 * comes back may be another server under the same name, so all connections are made anew.
 */
import type { PoolClient, PoolConfig, QueryArrayConfig, QueryArrayResult } from 'pg';
import { Connections, connectionSettings } from './connections';
import { probe, type Misfit } from './probe';
import { READ_CLOCK } from './serverClock';
import { isAway, isLocked, isMisfit, isUnsure } from './databaseErrors';

/** Milliseconds, where no setting says otherwise (M2M_DATABASE_TIMEOUT). */
const TIMEOUT = 8_000;
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 4_000;
/** A server that is lost again sooner has the same trouble still: pauses go on from where they were. */
const WELL_AFTER = 2_000;
/** For goodbyes to the server when the gateway ends. */
const CLOSING = 1_000;

/** The database cannot be used now, or what a statement needs is locked by somebody else. */
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

/** A statement, or one whose values depend on when it is given up: seconds since the epoch by the server's clock. */
export type Timed = Omit<QueryArrayConfig, 'rowMode'> & { readonly valuesOf?: (until: number) => unknown[] };

export interface DatabaseEvents {
  readonly lost: (reason: string) => void;
  /** While it is lost: the server is there, and this must be mended. */
  readonly unfit: (reason: string) => void;
  readonly back: () => void;
  /** A statement was given up that waited for somebody's open transaction; the database is not lost. */
  readonly locked: (reason: string) => void;
}

/**
 * Milliseconds before a probe: none before the first one, since most losses are those of a connection; then more and
 * more, and not the same for all gateways.
 *
 * @param probes those before it that failed, or after which the server was lost again
 * @param random 0 to 1
 */
export function probePause(probes: number, random: number): number {
  if (probes === 0) return 0;
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(probes - 1, 10)) * (0.5 + random / 2);
}

export class Database {
  private connections: Connections;
  private state: 'up' | 'away' | 'closed' = 'up';
  private suspecting: Promise<void> | undefined;
  /** Why it is away, as was told last. */
  private told = '';
  private probes = 0;
  private upSince = -Infinity;

  constructor(
    private readonly url: string,
    private readonly poolSize: number,
    private readonly events: DatabaseEvents,
    private readonly timeout = TIMEOUT,
    private readonly misfit: Misfit = () => Promise.resolve(undefined),
  ) {
    this.connections = this.connect();
  }

  /** Settings for a connection of somebody's own. */
  connection(): PoolConfig {
    return connectionSettings(this.url, this.timeout);
  }

  get available(): boolean {
    return this.state === 'up';
  }

  /** Runs one statement. Throws DatabaseAway where the server cannot be used, and other errors as they are. */
  async query({ valuesOf, ...statement }: Timed): Promise<QueryArrayResult<unknown[]>> {
    const { connections } = this;
    const givenUpAt = performance.now() + this.timeout;
    const client = await this.lend(connections);
    try {
      const timed = valuesOf && { values: valuesOf(connections.clock.at(givenUpAt)) };
      const result = await client.query<unknown[]>({ ...statement, ...timed, rowMode: 'array' });
      client.release();
      return result;
    } catch (error) {
      client.release(true);
      if (isLocked(error)) throw this.locked(error);
      if (isAway(error)) throw this.lose(error, connections, isUnsure(error));
      if (isMisfit(error)) await this.suspect(error, connections);
      throw this.connections === connections ? error : new DatabaseAway(describe(error), false);
    }
  }

  /** Opens connections ahead of the first terminals, so that no login pays for them. */
  async warmUp(connections: number): Promise<void> {
    await Promise.all(
      Array.from({ length: connections }, () => this.query({ text: 'SELECT pg_sleep(0.01)' })),
    );
  }

  /** Looks at the server's clock anew. @returns seconds since the epoch */
  async readClock(): Promise<number> {
    const { clock } = this.connections;
    const asked = performance.now();
    const { rows } = await this.query({ name: 'clock', text: READ_CLOCK });
    const seconds = rows[0]?.[0] as number;
    clock.hear(seconds, asked, performance.now());
    return seconds;
  }

  /** Looks whether the database is still one for this gateway. @param why something may have become of it */
  doubt(why: string): Promise<void> {
    return this.suspect(new Error(why), this.connections);
  }

  async close(): Promise<void> {
    if (this.state === 'closed') return;
    this.state = 'closed';
    await this.connections.letGo(CLOSING);
  }

  private connect(): Connections {
    const made: Connections = new Connections(
      this.connection(),
      this.poolSize,
      (error) => void this.suspect(error, made),
    );
    return made;
  }

  /** Whatever keeps us from having a connection, the statement has not left. */
  private async lend(connections: Connections): Promise<PoolClient> {
    if (this.state !== 'up') throw new DatabaseAway('the database is away', false);
    let client: PoolClient;
    try {
      client = await connections.lend();
    } catch (error) {
      throw this.lose(error, connections, false);
    }
    if (this.connections === connections) return client;
    client.release();
    throw new DatabaseAway('the database was lost meanwhile', false);
  }

  /**
   * An idle connection broke: that may be the server, or that one connection only. Or a statement does not fit the
   * schema: that may be gone, or our statement is wrong.
   */
  private suspect(error: unknown, connections: Connections): Promise<void> {
    if (this.state !== 'up') return Promise.resolve();
    this.suspecting ??= this.look(error, connections).finally(() => (this.suspecting = undefined));
    return this.suspecting;
  }

  private async look(error: unknown, connections: Connections): Promise<void> {
    const { usable, unfit } = await probe(this.connection(), this.misfit);
    if (!usable) this.lose(unfit === undefined ? error : new Error(unfit), connections, false);
  }

  /** @param connections those that it failed on: what is told of earlier ones is known already */
  private lose(error: unknown, connections: Connections, unsure: boolean): DatabaseAway {
    const reason = describe(error);
    if (this.state === 'up' && connections === this.connections) {
      this.state = 'away';
      this.connections = this.connect();
      void connections.letGo(this.timeout);
      if (performance.now() - this.upSince > WELL_AFTER) this.probes = 0;
      this.told = reason;
      this.events.lost(reason);
      void this.awaitReturn();
    }
    return new DatabaseAway(reason, unsure);
  }

  private locked(error: unknown): DatabaseAway {
    const { where = '' } = error as { where?: string };
    // No more of it: a server may be set to show a statement's parameters there.
    const relation = /^while .* in relation "[^"]*"/m.exec(where);
    const reason = relation === null ? describe(error) : `${describe(error)}, ${relation[0]}`;
    this.events.locked(reason);
    return new DatabaseAway(reason, false);
  }

  private async awaitReturn(): Promise<void> {
    for (;;) {
      const pause = probePause(this.probes++, Math.random());
      await new Promise((resolve) => setTimeout(resolve, pause).unref());
      if (this.state !== 'away') return;
      const { usable, unfit } = await probe(this.connection(), this.misfit);
      if (this.state !== 'away') return;
      if (usable) break;
      if (unfit !== undefined && unfit !== this.told) this.events.unfit((this.told = unfit));
    }
    this.state = 'up';
    this.upSince = performance.now();
    this.events.back();
  }
}

/** An error about several addresses has a code only. */
function describe(error: unknown): string {
  const { message, code } = error as { message?: string; code?: string };
  return message || code || 'unknown';
}
