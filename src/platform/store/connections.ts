/**
 * Connections to the server: a pool of them from one moment on, until they are let go of all together; and those
 * of somebody's own.
 *
 * Their sockets are ours: a peer that is silently dead never answers a goodbye, and a socket that waits for one
 * would stay for as long as TCP has patience, and keep the process alive.
 */
import { Socket } from 'node:net';
import { Client, Pool, type ClientBase, type PoolClient, type PoolConfig } from 'pg';
import { asPsqlReads } from './address';
import { isCrowded } from './databaseErrors';
import { READ_CLOCK, ServerClock } from './serverClock';

/** The role that the service works as, once it has migrated; and what a server, database or user may have set to
 * something else than our statements, and the reading of their rows, count on. */
const BECOME_GATEWAY = `
  SET ROLE m2m_gateway;
  SET standard_conforming_strings = on;
  SET DateStyle = 'ISO';
  SET extra_float_digits = 1;
  SET default_transaction_isolation = 'read committed';
  SET search_path = pg_catalog;
  SET idle_session_timeout = 0`;

/** Milliseconds. Where the server has none to give, no more connections are asked for meanwhile. */
const CROWDED_FOR = 10_000;
/** For a goodbye. */
const GOODBYE = 1_000;
/** Of silence, until TCP asks whether the other side is there. */
const KEEPALIVE_AFTER = 10_000;

export class Connections {
  /** Known as soon as a connection is. */
  readonly clock = new ServerClock();
  private readonly pool: Pool;
  private readonly sockets = new Set<Socket>();
  private readonly waiting = new Set<(error: Error) => void>();
  private roomier: NodeJS.Timeout | undefined;

  /** @param onBroken an idle connection broke */
  constructor(
    private readonly settings: PoolConfig,
    private readonly most: number,
    onBroken: (error: Error) => void,
  ) {
    // The pool awaits what this returns before it lends the connection; its types do not know.
    const onConnect = ((client: ClientBase) => this.prepare(client)) as unknown as PoolConfig['onConnect'];
    this.pool = new Pool({ ...settings, max: most, onConnect, stream: () => this.socket() });
    this.pool.on('error', onBroken);
    // While it is lent, its statement hears of the error.
    this.pool.on('connect', (client) => client.on('error', () => undefined));
  }

  /** Waits for a connection. Throws where none can be made. */
  async lend(): Promise<PoolClient> {
    for (;;) {
      try {
        return await this.next();
      } catch (error) {
        if (!isCrowded(error) || this.pool.totalCount === 0) throw error;
        this.makeDo();
      }
    }
  }

  /**
   * Idle ones are closed at once, the others when their statement is done.
   *
   * @param patience milliseconds after which those that are left are destroyed
   */
  async letGo(patience: number): Promise<void> {
    clearTimeout(this.roomier);
    for (const giveUp of this.waiting) giveUp(new Error('all connections were let go of'));
    this.waiting.clear();
    const late = new Promise<void>((resolve) => {
      setTimeout(() => {
        for (const socket of this.sockets) socket.destroy();
        resolve();
      }, patience).unref();
    });
    await Promise.race([this.pool.end(), late]);
  }

  /** A pool that is ended serves nobody who waits for one of its connections, and tells nobody so. */
  private next(): Promise<PoolClient> {
    return new Promise((resolve, reject) => {
      this.waiting.add(reject);
      this.pool.connect().then(
        (client) => {
          if (this.waiting.delete(reject)) resolve(client);
          else client.release();
        },
        (error: Error) => {
          this.waiting.delete(reject);
          reject(error);
        },
      );
    });
  }

  /** The server has no more connections to give: work goes on with those that stand. */
  private makeDo(): void {
    this.pool.options.max = this.pool.totalCount;
    clearTimeout(this.roomier);
    this.roomier = setTimeout(() => (this.pool.options.max = this.most), CROWDED_FOR).unref();
  }

  private async prepare(client: ClientBase): Promise<void> {
    await becomeGateway(client, this.settings);
    const asked = performance.now();
    const { rows } = await client.query<[number]>({ text: READ_CLOCK, rowMode: 'array' });
    this.clock.hear(rows[0]![0], asked, performance.now());
  }

  private socket(): Socket {
    const socket = new Socket();
    this.sockets.add(socket);
    return socket.once('close', () => this.sockets.delete(socket));
  }
}

/**
 * Locks are given up sooner than statements: who waits for somebody's open transaction must not count the server as
 * away. A login may wait for a batch that waits, and is answered before its deadline all the same.
 */
async function becomeGateway(client: ClientBase, { query_timeout: timeout = 0 }: PoolConfig): Promise<void> {
  await client.query(`${BECOME_GATEWAY}; SET lock_timeout = ${Math.round(timeout / 4)}`);
}

/** A connection of somebody's own, which can always be closed. */
export class OwnConnection {
  readonly client: Client;
  /** Resolves when it has gone. */
  readonly gone: Promise<void>;
  private readonly socket = new Socket();

  constructor(private readonly settings: PoolConfig) {
    this.client = new Client({ ...settings, stream: () => this.socket });
    this.gone = new Promise((resolve) => {
      this.socket.once('close', () => resolve());
      this.client.on('error', () => this.socket.destroy());
    });
  }

  get isGone(): boolean {
    return this.socket.destroyed;
  }

  async open(): Promise<void> {
    await this.client.connect();
    await becomeGateway(this.client, this.settings);
  }

  /** Says goodbye, and does not wait for an answer for long. */
  close(): void {
    this.client.end().catch(() => undefined);
    setTimeout(() => this.socket.destroy(), GOODBYE).unref();
  }
}

/**
 * Settings of every connection that the gateway opens.
 *
 * @param timeout milliseconds after which connecting, or a statement, is given up
 */
export function connectionSettings(url: string, timeout: number): PoolConfig {
  return {
    connectionString: asPsqlReads(url),
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_AFTER,
    connectionTimeoutMillis: timeout,
    query_timeout: timeout,
    // The server gives up before the client does, so that no abandoned statement holds locks.
    statement_timeout: timeout - 500,
    idle_in_transaction_session_timeout: timeout,
    application_name: 'm2m-gateway',
  };
}
