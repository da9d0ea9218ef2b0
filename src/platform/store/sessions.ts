/**
 * Sessions in the database: logins and changes of many terminals share one statement each (group commit).
 *
 * The statements check again what a decision was based on: the revision, that the session is still the one meant,
 * that the frame was not taken before. Where that no longer holds nothing is written and the outcome says so; the
 * caller then looks the terminal up afresh and decides again, so the reasons stay in the deciders.
 *
 * A statement that arrives late, after it was given up and the terminal was told to come again, does nothing: what
 * the terminal was told since would be lost. The server's own clock decides.
 *
 * Rows that somebody else holds locked are passed over (SKIP LOCKED), with the same outcome: an operator's long
 * transaction delays its own terminals only, and two gateways never wait for each other crosswise.
 */
import { seal, type KeyRing } from '../../crypto/sealing';
import { LOGINS_KEPT, REQUESTS_KEPT } from '../flows/replay';
import type { LoginWrite, SessionWrite } from '../model';
import { byteaArray, hexArray, plainArray, textArray } from './arrays';
import { Batcher, Rejected } from './batcher';
import { NO_SECRETS, secretColumns, SECRETS, type SecretsSql } from './credentialWrites';
import type { Database, Timed } from './database';
import { isTransient } from './databaseErrors';
import { COUNTS_AS_GONE } from './instance';

/** @internal One that is not committed was overtaken by another change, or its row is locked. */
export interface Committed {
  readonly committed: boolean;
  /** Another live gateway held the terminal's older session and was told. */
  readonly tookOver: boolean;
}

const NOT_COMMITTED: Committed = { committed: false, tookOver: false };

/** $1 least replay entry to keep, $2 instance, $3 seconds that a session lasts, $4 until when; then a column each. */
const login = (secrets: SecretsSql) => `
  WITH input AS MATERIALIZED (
    SELECT * FROM unnest($5::bigint[], $6::int[], $7::bytea[], $8::text[], $9::bytea[], $10::uuid[], $11::text[], $12::text[]
        ${secrets.parameters(13)})
      AS i (terminal_id, revision, session_id, login, session_key, entry, address, serial ${secrets.columns})
  ), held AS MATERIALIZED (
    SELECT i.*, CASE WHEN s.connected AND s.session_id IS NOT NULL THEN s.instance END AS prior_instance
    FROM input AS i JOIN m2m.session AS s ON s.terminal_id = i.terminal_id ${secrets.join}
    WHERE s.revision = i.revision AND now() < to_timestamp($4::float8)
      AND i.entry <> ALL (s.logins)
      AND (cardinality(s.logins) < ${LOGINS_KEPT}
        OR (SELECT count(*) FROM unnest(s.logins) AS e WHERE e >= $1::uuid) < ${LOGINS_KEPT})
    FOR NO KEY UPDATE OF s ${secrets.lock} SKIP LOCKED
  ), done AS (
    UPDATE m2m.session AS s SET
      session_id = h.session_id, login = h.login, session_key = h.session_key,
      instance = $2::bigint, address = h.address::inet, connected = true,
      started_at = now(), last_login_at = now(), expires_at = now() + make_interval(secs => $3::int),
      ended_at = NULL, end_reason = NULL,
      logins = CASE WHEN s.logins = '{}' THEN ARRAY[h.entry]
        ELSE ARRAY(SELECT e FROM unnest(s.logins) AS e WHERE e >= $1::uuid) || h.entry END
      ${secrets.bump}
    FROM held AS h WHERE s.terminal_id = h.terminal_id
    RETURNING s.terminal_id
  ), told AS (
    INSERT INTO m2m.change (terminal_id, serial, action, instance)
    SELECT h.terminal_id, h.serial, 'session-superseded', h.prior_instance
    FROM held AS h JOIN m2m.instance AS g ON g.id = h.prior_instance
    WHERE h.prior_instance <> $2::bigint AND g.seen_at > now() - interval '${COUNTS_AS_GONE} seconds'
    RETURNING terminal_id
  ) ${secrets.writes}
  SELECT d.terminal_id, t.terminal_id IS NOT NULL FROM done AS d LEFT JOIN told AS t USING (terminal_id)`;

/** $1 least replay entry to keep, $2 until when; then a column each. */
const change = (secrets: SecretsSql) => `
  WITH input AS MATERIALIZED (
    SELECT * FROM unnest($3::bigint[], $4::int[], $5::bytea[], $6::text[], $7::bytea[], $8::uuid[]
        ${secrets.parameters(9)})
      AS i (terminal_id, revision, session_id, kind, session_key, entry ${secrets.columns})
  ), held AS MATERIALIZED (
    SELECT i.* FROM input AS i JOIN m2m.session AS s ON s.terminal_id = i.terminal_id ${secrets.join}
    WHERE s.revision = i.revision AND s.session_id = i.session_id AND now() < to_timestamp($2::float8)
      AND i.entry <> ALL (s.requests)
      AND (cardinality(s.requests) < ${REQUESTS_KEPT}
        OR (SELECT count(*) FROM unnest(s.requests) AS e WHERE e >= $1::uuid) < ${REQUESTS_KEPT})
    FOR NO KEY UPDATE OF s ${secrets.lock} SKIP LOCKED
  ), done AS (
    UPDATE m2m.session AS s SET
      session_id = CASE h.kind WHEN 'logout' THEN NULL ELSE s.session_id END,
      session_key = CASE h.kind WHEN 'credentials' THEN s.session_key ELSE h.session_key END,
      connected = h.kind <> 'logout',
      ended_at = CASE h.kind WHEN 'logout' THEN now() END,
      end_reason = CASE h.kind WHEN 'logout' THEN 'logout' END,
      requests = ARRAY(SELECT e FROM unnest(s.requests) AS e WHERE e >= $1::uuid) || h.entry
      ${secrets.bump}
    FROM held AS h WHERE s.terminal_id = h.terminal_id
    RETURNING s.terminal_id
  ) ${secrets.writes}
  SELECT terminal_id FROM done`;

interface Statement {
  /** Prepared under this name on every connection. */
  readonly name: string;
  readonly text: string;
}

const LOGIN: Statement = { name: 'login', text: login(NO_SECRETS) };
const LOGIN_WITH_SECRETS: Statement = { name: 'login-secrets', text: login(SECRETS) };
const CHANGE: Statement = { name: 'change', text: change(NO_SECRETS) };
const CHANGE_WITH_SECRETS: Statement = { name: 'change-secrets', text: change(SECRETS) };

const DETACH: Statement = {
  name: 'session-detach',
  text: `
  UPDATE m2m.session AS s SET connected = false
  FROM (
    SELECT s.terminal_id FROM unnest($1::bigint[], $2::bytea[]) AS i (terminal_id, session_id)
    JOIN m2m.session AS s ON s.terminal_id = i.terminal_id AND s.session_id = i.session_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
  ) AS held WHERE s.terminal_id = held.terminal_id
  RETURNING s.terminal_id`,
};

/** Which of them are still shown on line. */
const ATTACHED: Statement = {
  name: 'session-attached',
  text: `
  SELECT s.terminal_id FROM unnest($1::bigint[], $2::bytea[]) AS i (terminal_id, session_id)
  JOIN m2m.session AS s ON s.terminal_id = i.terminal_id AND s.session_id = i.session_id
  WHERE s.connected`,
};

const EXPIRE: Statement = {
  name: 'session-expire',
  text: `
  UPDATE m2m.session AS s SET
    session_id = NULL, session_key = NULL, connected = false, ended_at = now(), end_reason = 'expired'
  FROM (
    SELECT s.terminal_id FROM unnest($1::bigint[], $2::bytea[]) AS i (terminal_id, session_id)
    JOIN m2m.session AS s ON s.terminal_id = i.terminal_id AND s.session_id = i.session_id
    FOR NO KEY UPDATE OF s SKIP LOCKED
  ) AS held WHERE s.terminal_id = held.terminal_id
  RETURNING s.terminal_id`,
};

export interface SessionsOptions {
  readonly database: Database;
  readonly ring: () => KeyRing;
  readonly instance: () => number;
  /** Seconds. */
  readonly sessionTtl: number;
  /** The least replay entry to keep, as of now. */
  readonly cutoff: () => string;
}

type Named = Pick<SessionWrite, 'terminalId' | 'sessionId'>;

/** After an outage all that went meanwhile are left: so many are noted at once. */
const LEFT_AT_ONCE = 5_000;

export class Sessions {
  private readonly logins: Batcher<LoginWrite, Committed>;
  private readonly changes: Batcher<SessionWrite, Committed>;
  private readonly detached: Batcher<Named, boolean>;
  private readonly expired: Batcher<Named, boolean>;
  /** Whose row somebody held, or for whom the database was away when their connection went. */
  private readonly undetached = new Map<number, Named>();

  constructor(private readonly options: SessionsOptions) {
    const keyOf = (item: { terminalId: number }) => item.terminalId;
    const shared = { keyOf, maxItems: 512, maxUnderWay: 2, enough: 64, window: 2 };
    this.logins = new Batcher<LoginWrite, Committed>({ ...shared, run: (items) => this.commitLogins(items) });
    this.changes = new Batcher<SessionWrite, Committed>({
      ...shared,
      run: (items) => this.commitChanges(items),
    });
    const atLeisure = (statement: Statement) =>
      new Batcher<Named, boolean>({
        ...shared,
        maxUnderWay: 1,
        window: 50,
        run: (items) => this.mark(statement, items),
      });
    this.detached = atLeisure(DETACH);
    this.expired = atLeisure(EXPIRE);
  }

  /** Logins and changes that wait for their batch to leave. */
  get waiting(): number {
    return this.logins.depth + this.changes.depth;
  }

  /** Resolves when what was submitted has been written, or cannot be. */
  async settled(): Promise<void> {
    const { logins, changes, detached, expired } = this;
    await Promise.all([logins, changes, detached, expired].map((batcher) => batcher.settled()));
  }

  /** Commits a login. Throws DatabaseAway. */
  login(write: LoginWrite): Promise<Committed> {
    return this.logins.submit(write);
  }

  /** Commits a new session key or a logout. Throws DatabaseAway. */
  change(write: SessionWrite): Promise<Committed> {
    return this.changes.submit(write);
  }

  /** Notes that the connection of a session is gone; the session stands. */
  async detach(session: Named): Promise<void> {
    let done = false;
    try {
      done = await this.detached.submit(session);
    } finally {
      if (!done) this.undetached.set(session.terminalId, session);
    }
  }

  /** Notes what detach() could not, as far as it still holds. */
  async detachLeft(): Promise<void> {
    const left = [...this.undetached.values()].slice(0, LEFT_AT_ONCE);
    if (left.length === 0) return;
    const { rows } = await this.options.database.query({ ...ATTACHED, values: named(left) });
    const attached = new Set(rows.map(([id]) => Number(id)));
    for (const session of left)
      if (this.undetached.get(session.terminalId) === session) this.undetached.delete(session.terminalId);
    await Promise.all(
      left.filter(({ terminalId }) => attached.has(terminalId)).map((session) => this.detach(session)),
    );
  }

  /** Ends a session whose time is up: after a storm that is the whole fleet's, a day later. */
  async expire(session: Named): Promise<void> {
    await this.expired.submit(session);
  }

  private commitLogins(items: readonly LoginWrite[]): Promise<(Committed | Rejected)[]> {
    return apart(items, (lot, withSecrets) =>
      this.commit(withSecrets ? LOGIN_WITH_SECRETS : LOGIN, (until) => [
        this.options.cutoff(),
        this.options.instance(),
        this.options.sessionTtl,
        until,
        ...this.columns(lot, (item) => item.login),
        textArray(lot.map((item) => item.address)),
        textArray(lot.map((item) => item.serial)),
        ...(withSecrets ? secretColumns(lot, this.options.ring()) : []),
      ]),
    );
  }

  private commitChanges(items: readonly SessionWrite[]): Promise<(Committed | Rejected)[]> {
    return apart(items, (lot, withSecrets) =>
      this.commit(withSecrets ? CHANGE_WITH_SECRETS : CHANGE, (until) => [
        this.options.cutoff(),
        until,
        ...this.columns(lot, (item) => item.kind),
        ...(withSecrets ? secretColumns(lot, this.options.ring()) : []),
      ]),
    );
  }

  /** @returns for which of them it was done */
  private async mark(statement: Statement, items: readonly Named[]): Promise<boolean[]> {
    const rows = await this.run({ ...statement, values: named(items) });
    const done = new Set(rows.map(([id]) => Number(id)));
    return items.map(({ terminalId }) => done.has(terminalId));
  }

  private columns<T extends LoginWrite | SessionWrite>(
    items: readonly T[],
    word: (item: T) => string,
  ): string[] {
    const ring = this.options.ring();
    return [
      plainArray(items.map((item) => item.terminalId)),
      plainArray(items.map((item) => item.revision)),
      hexArray(items.map((item) => item.sessionId)),
      plainArray(items.map(word)),
      byteaArray(
        items.map(({ sessionKey, serial }) => sessionKey && seal(ring, 'session_key', serial, sessionKey)),
      ),
      plainArray(items.map((item) => item.replayEntry)),
    ];
  }

  private async commit(statement: Statement, valuesOf: (until: number) => unknown[]): Promise<unknown[][]> {
    const { database } = this.options;
    const rows = await this.run({ ...statement, valuesOf });
    // Where the server's clock was set, all of them would come too late.
    if (rows.length === 0) await database.readClock();
    return rows;
  }

  private async run(statement: Timed): Promise<unknown[][]> {
    for (let tries = 1; ; tries++) {
      try {
        return (await this.options.database.query(statement)).rows;
      } catch (error) {
        if (!isTransient(error)) throw error;
        // Nothing was committed: the caller looks again, and gives up in the end.
        if (tries === 3) return [];
      }
    }
  }
}

function named(items: readonly Named[]): unknown[] {
  return [plainArray(items.map((item) => item.terminalId)), hexArray(items.map((item) => item.sessionId))];
}

/**
 * Writes that touch secrets are few: they go by a statement of their own, and the many pay nothing for them. Where one
 * of the two statements fails, what the other has committed is committed.
 */
async function apart<T extends LoginWrite | SessionWrite>(
  items: readonly T[],
  run: (items: readonly T[], withSecrets: boolean) => Promise<unknown[][]>,
): Promise<(Committed | Rejected)[]> {
  const done = new Map<number, Committed | Rejected>();
  const commit = async (lot: readonly T[], withSecrets: boolean): Promise<void> => {
    if (lot.length === 0) return;
    try {
      for (const [id, tookOver] of await run(lot, withSecrets))
        done.set(Number(id), { committed: true, tookOver: tookOver === true });
    } catch (error) {
      for (const { terminalId } of lot) done.set(terminalId, new Rejected(error));
    }
  };
  const plain = items.filter((item) => !item.credentials);
  const secret = items.filter((item) => item.credentials);
  await Promise.all([commit(plain, false), commit(secret, true)]);
  return items.map(({ terminalId }) => done.get(terminalId) ?? NOT_COMMITTED);
}
