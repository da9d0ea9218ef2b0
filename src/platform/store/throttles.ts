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

/** What the feed calls an operator's m2m.lift_throttle. */
const LIFT = 'lift_throttle';

const ROW = `serial, address, failures, (extract(epoch FROM now() - last_failure_at) * 1000)::float8,
  (extract(epoch FROM expires_at - now()) * 1000)::float8`;
/** All write in one order, so that they wait for each other and never crosswise. */
const WRITE = `
  INSERT INTO m2m.throttle AS t (serial, address, failures, expires_at)
  SELECT i.serial, i.address, i.failures,
    now() + CASE i.serial WHEN '' THEN interval '1 minute' ELSE interval '10 minutes' END
  FROM (SELECT * FROM unnest($1::text[], $2::inet[], $3::bigint[]) AS u (serial, address, failures)
        ORDER BY u.serial COLLATE "C", u.address) AS i
  ON CONFLICT (serial, address) DO UPDATE SET
    failures = excluded.failures + CASE WHEN t.expires_at > now() THEN t.failures ELSE 0 END,
    last_failure_at = excluded.last_failure_at,
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
    const begun = performance.now();
    try {
      const since = Math.min(600, OVERLAP + (begun - this.lookedAt) / 1000);
      const { rows } = await database.query({ name: 'throttle-look', text: LOOK, values: [since] });
      this.lookedAt = begun;
      this.throttle.learn(rows.map(readTold), era, steady());
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
    const values = [...keys(noted), plainArray(noted.map(({ failures }) => failures))];
    return (await database.query({ name: 'throttle-write', text: WRITE, values })).rows.map(readTold);
  }
}

function keys(counted: readonly Counted[]): string[] {
  return [textArray(counted.map(({ serial }) => serial)), textArray(counted.map(({ source }) => source))];
}

function readTold([serial, address, failures, age, expiresIn]: readonly unknown[]): Told {
  return {
    serial: serial as string,
    source: sourceOf(address as string),
    failures: Number(failures),
    age: age as number,
    expiresIn: expiresIn as number,
  };
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
