/**
 * What happens to sessions from outside their connection: a newer login here or on another gateway, a change in
 * SQL, the end of their time. It acts on rows, not on messages: whatever told it that something changed, it reads
 * what the database has now and lets flows/effect.ts judge.
 */
import type { DisconnectReason } from '../../protocol/commands';
import { targetNames } from '../../protocol/changeTargets';
import { encodeDisconnect, encodeNotice } from '../flows/answer';
import { effectOn } from '../flows/effect';
import { adopt } from '../flows/inSession';
import type { Connection } from '../listener/connection';
import type { Registry } from '../listener/registry';
import type { Session, TerminalView } from '../model';
import type { Change } from '../store/changeFeed';
import type { RecordCache } from '../store/recordCache';
import type { Store } from './context';
import type { Reporter } from './reporter';

export interface EffectsOptions {
  readonly store: Pick<Store, 'byIds' | 'expire' | 'detach'>;
  readonly cache: RecordCache;
  readonly registry: Registry;
  readonly reporter: Reporter;
  /** A wish to a terminal that speaks WMMP 3.0. */
  readonly configure: (connection: Connection) => void;
  /** Milliseconds that the answer to a commit may take. */
  readonly timeout: number;
  /** By this process's own clock. */
  readonly now: () => number;
  /** What time it is (../clock.ts). */
  readonly clock: () => number;
  readonly onError: (error: unknown) => void;
}

/** Terminals looked at in one statement. */
const LOT = 1_000;
/** Milliseconds after which a session is judged whose connection was just logging in anew. */
const LOOK_AGAIN = 100;
/** Milliseconds beyond a commit's for which a change is remembered for logins that were under way when it came. */
const REMEMBERED = 60_000;
/** Terminals that are remembered one by one: where more are changed at once, all count as named. */
const MOST_NAMED = 100_000;

export class Effects {
  /** When the feed last named a terminal, for sessions that begin only afterwards. */
  private readonly named = new Map<number, number>();
  private allNamedAt = 0;
  /** Terminals that could not be looked at when something was told of them. */
  private readonly unchecked = new Set<number>();

  constructor(private readonly options: EffectsOptions) {}

  /** Feed rows: forgets cached records, and looks at those whose sessions are here. */
  onChanges(changes: readonly Change[]): void {
    const { cache, registry, now } = this.options;
    for (const { serial, terminalId, targeted } of changes) {
      // A login elsewhere has left the record as it was, or raised its revision, at which a commit here notices.
      if (serial !== '' && !targeted) cache.delete(serial);
      this.name(terminalId, now());
    }
    const live = new Set(
      changes.map(({ terminalId }) => terminalId).filter((id) => registry.get(id) !== undefined),
    );
    void this.check([...live]);
  }

  /** After a time in which changes may have been missed. */
  async checkAll(): Promise<void> {
    await this.check(this.options.registry.terminals());
  }

  /** A session begins on a connection, its commit done. @param since when its login was first looked at */
  began(connection: Connection, since: number): void {
    const { registry, store, onError } = this.options;
    const { session } = connection;
    if (session === undefined) return;
    const { id } = session.terminal;
    if (!connection.isOpen) {
      store.detach({ terminalId: id, sessionId: session.id }).catch(onError);
      // It may have overtaken one that stands on another connection of ours, of which no row tells.
      if (registry.get(id) !== undefined) void this.check([id]);
      return;
    }
    const before = registry.take(id, connection);
    if (before !== undefined) this.end(before, 'superseded');
    if (Math.max(this.named.get(id) ?? 0, this.allNamedAt) >= since) void this.check([id]);
  }

  /** The connection has gone; its session stands. */
  closed(connection: Connection): void {
    const { registry, store, onError } = this.options;
    const { session } = connection;
    if (session === undefined) return;
    registry.release(session.terminal.id, connection);
    store.detach({ terminalId: session.terminal.id, sessionId: session.id }).catch(onError);
  }

  /**
   * Ends sessions whose time is up, looks at those that could not be looked at before, and forgets changes that no
   * login can have missed any more.
   */
  sweep(): void {
    const [now, time] = [this.options.now(), this.options.clock()];
    const remembered = this.options.timeout + REMEMBERED;
    for (const connection of this.options.registry.connections()) {
      const { session } = connection;
      if (session === undefined || session.expiresAt > time) continue;
      this.end(connection, 'expired');
      this.options.store
        .expire({ terminalId: session.terminal.id, sessionId: session.id })
        .catch(this.options.onError);
    }
    for (const [id, at] of this.named) if (now - at > remembered) this.named.delete(id);
    const again = [...this.unchecked].filter((id) => this.options.registry.get(id) !== undefined);
    this.unchecked.clear();
    void this.check(again);
  }

  private name(id: number, now: number): void {
    if (this.named.size >= MOST_NAMED) {
      this.named.clear();
      this.allNamedAt = now;
    }
    this.named.set(id, now);
  }

  private async check(ids: readonly number[]): Promise<void> {
    for (let from = 0; from < ids.length; from += LOT) {
      try {
        await this.checkLot(ids.slice(from, from + LOT));
      } catch (error) {
        // Not only where the database is away, after which all are looked at: a table may be locked for a while.
        for (const id of ids.slice(from)) this.unchecked.add(id);
        return this.options.onError(error);
      }
    }
  }

  private async checkLot(ids: readonly number[]): Promise<void> {
    const stood = ids.map((id) => this.options.registry.get(id)?.session);
    const views = new Map((await this.options.store.byIds(ids)).map((view) => [view.record.id, view]));
    ids.forEach((id, i) => this.apply(id, stood[i], views.get(id)));
  }

  /** @param session the one that stood when the database was asked: one that began meanwhile may be newer than `view` */
  private apply(id: number, session: Session | undefined, view: TerminalView | undefined): void {
    const connection = this.options.registry.get(id);
    if (connection === undefined || session === undefined || connection.session !== session) return;
    if (connection.isCommitting) return void setTimeout(() => void this.check([id]), LOOK_AGAIN).unref();
    const effect = effectOn(session, view);
    if (effect.kind === 'refresh') {
      adopt(session, effect.record);
      session.told = effect.record.changes.wished;
      if (effect.notice !== 0) this.tellWish(connection, session, effect.notice);
    }
    if (effect.kind === 'end') this.end(connection, effect.reason, effect.cause);
  }

  /** The platform's wish, to a terminal that is on line. */
  private tellWish(connection: Connection, session: Session, targets: number): void {
    if (session.wmmp !== undefined) {
      session.wmmp.wish = 'open';
      return this.options.configure(connection);
    }
    const sequence = connection.nextSequence();
    const { bytes, digest } = encodeNotice(session, sequence, targets, this.options.clock());
    session.notice = { sequence, digest };
    connection.send(bytes);
    this.options.reporter.notice(session, connection, `wished: ${targetNames(targets).join(', ')}`);
  }

  private end(connection: Connection, reason: DisconnectReason, cause: string = reason): void {
    const { session } = connection;
    if (session === undefined) return;
    this.options.registry.release(session.terminal.id, connection);
    connection.session = undefined;
    this.options.reporter.sessionEnded(session, connection, cause);
    connection.sendAway(
      () => encodeDisconnect(session, connection.nextSequence(), reason, this.options.clock()),
      () => this.hasBegunAnew(connection),
    );
  }

  /** A login that was under way has replaced the session that ended. Whether it is the newest, the database knows. */
  private hasBegunAnew({ session }: Connection): boolean {
    if (session !== undefined) void this.check([session.terminal.id]);
    return session !== undefined;
  }
}
