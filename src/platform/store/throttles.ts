/**
 * Failed attempts of all processes of a database in the table m2m.throttle. Off the login's path: what this process
 * has seen is counted at once in memory and written in lots, what the others have seen comes in by a look every second.
 */
import { steady } from '../clock';
import { overlap, parseNetworks, sourceOf } from '../config/networks';
import { Throttle, type Told, type Untold } from '../flows/throttle';
import type { Counted } from '../flows/failureCounts';
import { plainArray, textArray } from './arrays';
import type { Change } from './changeFeed';
import { DatabaseAway, type Database } from './database';
import { isTransient } from './databaseErrors';

const WRITE_INTERVAL = 300;
const LOOK_INTERVAL = 1_000;
/** Counts in one statement. */
const LOT = 500;
/** Rows of one look, the latest first. */
const ROWS = 5_000;
/** Seconds that a statement of another process may have been under way: its rows show up late. */
const OVERLAP = 5;
/** Seconds by which a failure is written late at most: in a flood it waits for its lot, and must not be overlooked. */
const LATEST = 2;

/** What the feed calls an operator's m2m.lift_throttle. */
const LIFT = 'lift_throttle';

const ROW = `serial, address, failures, (extract(epoch FROM now() - last_failure_at) * 1000)::float8,
  (extract(epoch FROM expires_at - now()) * 1000)::float8`;
/**
 * All write in one order, so that they wait for each other and never crosswise. A delay begins with its failure, not
 * when that is written: who comes back as RETRY_AFTER said would be too early for it.
 */
const WRITE = `
  INSERT INTO m2m.throttle AS t (serial, address, failures, last_failure_at, expires_at)
  SELECT i.serial, i.address, i.failures, now() - make_interval(secs => least(i.age / 1000, ${LATEST})),
    now() + CASE i.serial WHEN '' THEN interval '1 minute' ELSE interval '10 minutes' END
  FROM (SELECT * FROM unnest($1::text[], $2::inet[], $3::bigint[], $4::float8[]) AS u (serial, address, failures, age)
        ORDER BY u.serial COLLATE "C", u.address) AS i
  ON CONFLICT (serial, address) DO UPDATE SET
    failures = excluded.failures + CASE WHEN t.expires_at > now() THEN t.failures ELSE 0 END,
    last_failure_at = greatest(t.last_failure_at, excluded.last_failure_at),
    expires_at = CASE WHEN t.serial = '' AND t.expires_at > now() THEN t.expires_at ELSE excluded.expires_at END
  RETURNING ${ROW}`;
const CLEAR = `
  DELETE FROM m2m.throttle WHERE (serial, address) IN (
    SELECT t.serial, t.address FROM m2m.throttle AS t
    JOIN unnest($1::text[], $2::inet[]) AS c (serial, address) ON (t.serial, t.address) = (c.serial, c.address)
    ORDER BY t.serial, t.address FOR UPDATE OF t)`;
const LOOK = `
  SELECT ${ROW} FROM m2m.throttle
  WHERE delay > 0 AND last_failure_at >= now() - make_interval(secs => $1) AND expires_at > now()
  ORDER BY last_failure_at DESC LIMIT ${ROWS}`;

export interface ThrottlesOptions {
  readonly database: Database;
  readonly onError: (error: unknown) => void;
}

export class Throttles {
  readonly throttle = new Throttle();
  private timers: NodeJS.Timeout[] = [];
  private writing: Promise<void> | undefined;
  private looking = false;
  /** Milliseconds of this process's own clock; a first look sees all that stands. */
  private lookedAt = -Infinity;

  constructor(private readonly options: ThrottlesOptions) {}

  async start(): Promise<void> {
    await this.look();
    const every = (interval: number, act: () => Promise<void>) =>
      setInterval(() => void act(), interval).unref();
    this.timers = [every(WRITE_INTERVAL, () => this.write()), every(LOOK_INTERVAL, () => this.look())];
  }

  async stop(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    await this.writing;
    await this.write();
  }

  /** Of what the feed tells, what operators have lifted. */
  onChanges(changes: readonly Change[]): void {
    for (const { action, serial, address } of changes) {
      if (action === LIFT) this.throttle.lift(concerned(serial, address));
    }
  }

  /** Writes what this process has seen. Never throws. */
  write(): Promise<void> {
    this.writing ??= this.writeLot().finally(() => {
      this.writing = undefined;
    });
    return this.writing;
  }

  /** Reads what the others have seen. Never throws. */
  async look(): Promise<void> {
    const { database, onError } = this.options;
    if (this.looking || !database.available) return;
    this.looking = true;
    const { era } = this.throttle;
    const begun = steady();
    try {
      const since = Math.min(600, OVERLAP + LATEST + (begun - this.lookedAt) / 1000);
      const { rows } = await database.query({ name: 'throttle-look', text: LOOK, values: [since] });
      this.lookedAt = begun;
      this.throttle.learn(toldSince(begun, rows), era, steady());
    } catch (error) {
      onError(error);
    } finally {
      this.looking = false;
    }
  }

  private async writeLot(): Promise<void> {
    const { database, onError } = this.options;
    if (!database.available) return;
    const untold = this.throttle.take(LOT);
    const { era } = this.throttle;
    try {
      const rows = await this.send(untold);
      this.throttle.told(rows, era, steady());
    } catch (error) {
      // Anything else would fail the next time, too.
      if (error instanceof DatabaseAway || isTransient(error)) this.throttle.putBack(untold);
      onError(error);
    }
  }

  /** Counts that a login has ended first: its terminal may have failed again since. */
  private async send({ noted, cleared }: Untold): Promise<Told[]> {
    const { database } = this.options;
    if (cleared.length > 0)
      await database.query({ name: 'throttle-clear', text: CLEAR, values: keys(cleared) });
    if (noted.length === 0) return [];
    const begun = steady();
    const counts = plainArray(noted.map(({ failures }) => failures));
    const ages = plainArray(noted.map(({ failedAt }) => begun - failedAt));
    const values = [...keys(noted), counts, ages];
    return toldSince(begun, (await database.query({ name: 'throttle-write', text: WRITE, values })).rows);
  }
}

function keys(counted: readonly Counted[]): string[] {
  return [textArray(counted.map(({ serial }) => serial)), textArray(counted.map(({ source }) => source))];
}

/** @param begun when the statement was sent: the ages are of then or later */
function toldSince(begun: number, rows: readonly (readonly unknown[])[]): Told[] {
  const since = steady() - begun;
  return rows.map(([serial, address, failures, age, expiresIn]) => ({
    serial: serial as string,
    source: sourceOf(address as string),
    failures: Number(failures),
    age: since + (age as number),
    expiresIn: expiresIn as number,
  }));
}

/** @param serial '': all of them @param address a network; undefined: from everywhere */
function concerned(serial: string, address: string | undefined): (counted: Counted) => boolean {
  const [lifted] = (address !== undefined && parseNetworks(address)) || [];
  return (counted) => {
    if (serial !== '' && counted.serial !== serial) return false;
    if (address === undefined) return true;
    const [source] = parseNetworks(counted.source) ?? [];
    return lifted !== undefined && source !== undefined && overlap(lifted, source);
  };
}
