/** Everything that is kept in PostgreSQL, behind one door: opened, joined and closed together. */
import type { KeyKeeper } from '../keys/keyKeeper';
import type { LoginWrite, SessionWrite } from '../model';
import type { Log } from '../ops/log';
import { ChangeFeed, type Change } from './changeFeed';
import type { Querying } from './probe';
import { Database, DatabaseAway } from './database';
import { Failures, type Search } from './failures';
import { Instance } from './instance';
import { Housekeeping } from './housekeeping';
import { findSession, type SessionName as AskedSession } from './introspect';
import { Outbox } from './outbox';
import { RecordCache } from './recordCache';
import { Sealer } from './sealer';
import { advanceSealingKey, checkSealingKeys, KeysDoNotFit, registerSealingKey } from './sealingKeys';
import { Sessions } from './sessions';
import { Strangers } from './strangers';
import { Terminals } from './terminals';
import { Throttles } from './throttles';

/** What a process does. One process may do all of it (../gateway.ts). */
export interface Duties {
  /** Serves terminals. */
  readonly terminals: boolean;
  /** Does what is done once for all processes of a gateway: sealing, housekeeping. */
  readonly office: boolean;
}

/** Terminals whose records are kept in memory. */
const CACHE_CAPACITY = 200_000;
const CHORES_INTERVAL = 1_000;

export interface StoreOptions {
  readonly url: string;
  /** Milliseconds after which a statement is given up, and the database counts as away. */
  readonly timeout: number;
  readonly keys: KeyKeeper;
  readonly duties: Duties;
  /** Connections to the database at most, besides the one that listens. */
  readonly poolSize: number;
  readonly gateway: string;
  /** Seconds. */
  readonly sessionTtl: number;
  /** The least replay entry to keep, as of now. */
  readonly cutoff: () => string;
  readonly log: Log;
  /** What a wrong digest was nearly. */
  readonly search: Search;
  readonly onChanges: (changes: readonly Change[]) => void;
  /** The database is there again, or this process had stood still; what changed meanwhile was not told. */
  readonly onBack: () => Promise<void>;
}

interface DatabaseCounters {
  readonly databaseErrors: { inc(): void };
  readonly databaseLost: { inc(): void };
}

/** A session as the statements on it name it. */
interface SessionName {
  readonly terminalId: number;
  readonly sessionId: string;
}

/** Opens the store on a migrated database. Throws KeysDoNotFit, and what the database refuses with. */
export async function openStore(options: StoreOptions): Promise<GatewayStore> {
  const store = new GatewayStore(options);
  await store.check();
  return store;
}

export class GatewayStore {
  readonly cache = new RecordCache(CACHE_CAPACITY);
  readonly strangers = new Strangers();
  readonly throttles: Throttles;
  readonly failures: Failures;
  readonly outbox: Outbox;
  private readonly database: Database;
  private readonly instance: Instance;
  private readonly sealer: Sealer;
  private readonly terminals: Terminals;
  private readonly sessions: Sessions;
  private readonly feed: ChangeFeed;
  private readonly housekeeping: Housekeeping;
  private counters: DatabaseCounters | undefined;
  private chores: NodeJS.Timeout | undefined;
  /** A database that is slow would otherwise be asked again while it is answering. */
  private advancing = false;
  private detaching = false;
  /** The database is there again, and what changed meanwhile is still to be found out. */
  private isBehind = false;

  constructor(private readonly options: StoreOptions) {
    const { ring } = options.keys;
    const events = {
      lost: (reason: string) => this.lost(reason),
      unfit: (reason: string) => this.unfit(reason),
      back: () => this.back(),
      locked: (reason: string) => this.locked(reason),
    };
    const { url, poolSize, timeout } = options;
    const database = new Database(url, poolSize, events, timeout, (asked) => this.otherKeys(asked));
    this.database = database;
    this.failures = new Failures({ database, ring, search: options.search, onError: this.onError });
    this.instance = new Instance({
      database,
      gateway: options.gateway,
      keyIds: () => options.keys.sealingIds,
      onLate: () => void this.late().catch(this.onError),
      onError: this.onError,
    });
    this.outbox = new Outbox(database, ring, (serial, error) => this.onUnreadable(serial, error));
    this.sealer = new Sealer(database, ring, this.onError);
    this.throttles = new Throttles({ database, onError: this.onError });
    this.terminals = new Terminals({ database, ring, onUnreadable: this.onUnreadable });
    const instance = () => this.instance.id;
    this.sessions = new Sessions({
      database,
      ring,
      instance,
      sessionTtl: options.sessionTtl,
      cutoff: options.cutoff,
    });
    this.feed = new ChangeFeed({
      database,
      instance,
      onChanges: (changes) => {
        this.strangers.forget(changes.map(({ serial }) => serial));
        this.throttles.onChanges(changes);
        options.onChanges(changes);
        if (changes.some(({ targeted }) => !targeted)) this.seal();
      },
      onError: this.onError,
    });
    this.housekeeping = new Housekeeping(database, this.onError);
  }

  /** Throws KeysDoNotFit where the key file is not the database's; the store is closed then. */
  async check(): Promise<void> {
    try {
      const { keys } = this.options;
      keys.useNewestOf(await checkSealingKeys(this.database, keys.ring()));
      await registerSealingKey(this.database, keys.ring(), keys.ring().newest.id);
    } catch (error) {
      await this.database.close();
      throw error;
    }
  }

  countInto(counters: DatabaseCounters): void {
    this.counters = counters;
  }

  async start(listen: string): Promise<void> {
    const { duties, poolSize } = this.options;
    await this.instance.start(listen);
    await this.feed.start();
    if (duties.terminals) {
      await this.database.warmUp(poolSize / 2);
      await this.throttles.start();
    }
    if (duties.office) this.housekeeping.start();
    this.chores = setInterval(() => {
      this.seal();
      void this.detachLeft();
      void this.catchUp();
      if (this.options.keys.candidate !== undefined) void this.advanceKey();
    }, CHORES_INTERVAL);
    this.seal();
  }

  async close(): Promise<void> {
    clearInterval(this.chores);
    this.housekeeping.stop();
    await this.feed.stop();
    await this.failures.write();
    await this.throttles.stop();
    await this.sessions.settled().catch(this.onError);
    await this.instance.stop().catch(this.onError);
    await this.database.close();
  }

  available(): boolean {
    return this.database.available;
  }

  /** Statements' rows that wait for their batch. */
  waiting(): number {
    return this.terminals.waiting + this.sessions.waiting;
  }

  find(serial: string) {
    return this.terminals.find(serial);
  }

  /** Milliseconds that a lookup takes now; undefined: none has succeeded of late. */
  get lookupTime(): number | undefined {
    return this.terminals.lookupTime;
  }

  /** Milliseconds since the epoch by the database's clock; undefined: it cannot be asked now. */
  async time(): Promise<number | undefined> {
    if (!this.database.available) return undefined;
    try {
      return (await this.database.readClock()) * 1000;
    } catch (error) {
      this.onError(error);
      return undefined;
    }
  }

  byIds(ids: readonly number[]) {
    return this.terminals.byIds(ids);
  }

  login(write: LoginWrite) {
    return this.sessions.login(write);
  }

  change(write: SessionWrite) {
    return this.sessions.change(write);
  }

  detach(session: SessionName) {
    return this.sessions.detach(session);
  }

  expire(session: SessionName) {
    return this.sessions.expire(session);
  }

  /** The session that stands, for data servers. Throws DatabaseAway. */
  session(name: AskedSession) {
    return findSession(this.database, this.options.keys.ring(), name);
  }

  /** Other gateways look at the change feed soon. */
  nudge(): void {
    this.feed.nudge();
  }

  listening(listen: string): Promise<void> {
    return this.instance.listening(listen);
  }

  /** This process among those of all gateways of the database. */
  get instanceId(): number {
    return this.instance.id;
  }

  /** Another process of this gateway is gone, and could not say so. */
  bury(instanceId: number): void {
    this.instance.bury(instanceId).catch(this.onError);
  }

  readonly onError = (error: unknown): void => {
    // Told once, when the database was lost.
    if (error instanceof DatabaseAway) return;
    this.counters?.databaseErrors.inc();
    this.options.log.event('internal-error', {
      message: 'a statement failed',
      level: 'error',
      error: String(error),
    });
  };

  private readonly onUnreadable = (serial: string, error: Error): void => {
    this.options.log.event('secret-unreadable', {
      message: error.message,
      level: 'error',
      outcome: 'failure',
      serial,
    });
  };

  private seal(): void {
    if (this.options.duties.office) void this.sealer.run();
  }

  private async detachLeft(): Promise<void> {
    if (this.detaching || !this.database.available) return;
    this.detaching = true;
    await this.sessions.detachLeft().catch(this.onError);
    this.detaching = false;
  }

  private async advanceKey(): Promise<void> {
    if (this.advancing || !this.database.available) return;
    this.advancing = true;
    try {
      const id = await advanceSealingKey(this.database, this.options.keys);
      if (id === undefined || !this.options.duties.office) return;
      this.options.log.event('keys-changed', { message: `values are sealed under key ${id} from now on` });
    } catch (error) {
      this.onError(error);
    } finally {
      this.advancing = false;
    }
  }

  private lost(reason: string): void {
    this.counters?.databaseLost.inc();
    this.options.log.event('database-lost', {
      message: 'logins get BUSY until it is back',
      level: 'error',
      error: reason,
    });
  }

  private unfit(reason: string): void {
    this.options.log.event('database-lost', {
      message: 'the server is there, but not what this gateway needs: logins get BUSY until it is mended',
      level: 'error',
      error: reason,
    });
  }

  private locked(reason: string): void {
    this.options.log.event('database-locked', {
      message: "what a statement needs is locked by somebody's open transaction",
      level: 'warn',
      outcome: 'failure',
      error: reason,
    });
  }

  private back(): void {
    this.options.log.event('database-back', { message: 'logins are served again' });
    this.isBehind = true;
    void this.catchUp();
  }

  /** As often as it takes: it may be another server, of whose changes the feed hears nothing before it begins anew. */
  private async catchUp(): Promise<void> {
    if (!this.isBehind || !this.database.available) return;
    this.isBehind = false;
    try {
      await this.feed.restart();
      // After it: what was read between a clearing before and the feed's new beginning would stay stale.
      await this.rejoin();
    } catch (error) {
      this.isBehind = true;
      this.onError(error);
    }
  }

  /** Where the row of this process was not as it left it, a backup may have been brought in, by one transaction. */
  private async late(): Promise<void> {
    await this.database.doubt('this process was not heard of');
    if (this.database.available) await this.rejoin();
  }

  /** What is there now may be an older database, which knows nothing of the key that values are sealed under. */
  private async rejoin(): Promise<void> {
    this.cache.clear();
    this.strangers.clear();
    const ring = this.options.keys.ring();
    await registerSealingKey(this.database, ring, ring.newest.id);
    await this.options.onBack();
  }

  private async otherKeys(database: Querying): Promise<string | undefined> {
    try {
      await checkSealingKeys(database, this.options.keys.ring());
      return undefined;
    } catch (error) {
      if (error instanceof KeysDoNotFit) return error.message;
      throw error;
    }
  }
}
