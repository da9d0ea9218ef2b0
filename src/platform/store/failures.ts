/**
 * Failed logins, for operators' views and m2m.explain. Gathered in memory and written off the login's path, one
 * statement for all of the last quarter second; what a wrong digest was nearly is searched for then, too.
 */
import { unseal, UnsealError, type KeyRing } from '../../crypto/sealing';
import type { Decoded } from '../../protocol/decode';
import type { TerminalRecord } from '../model';
import { plainArray, textArray } from './arrays';
import type { Database } from './database';

const WRITE_INTERVAL = 250;
/** Terminals noted between two writes; of more than these the rest goes unnoted. */
const CAPACITY = 5_000;
/** Of these, serials that nobody has: anybody may send as many as he likes. */
const STRANGERS = 25;
/** Wrong digests between two writes whose near miss is searched for. */
const SEARCHES = 10;

/** Attempts that came to the same are one entry with a count; the latest ten kinds are kept. */
const WRITE = `
  INSERT INTO m2m.failure AS f
    (serial, failures, first_failure_at, last_failure_at, last_failure_reason, address, recent)
  SELECT serial, failures, to_timestamp(at), to_timestamp(at), reason, address::inet, recent::jsonb
  FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::text[], $5::text[], $6::text[])
    AS i (serial, failures, at, reason, address, recent)
  ON CONFLICT (serial) DO UPDATE SET
    -- A login in between begins a new count.
    (failures, first_failure_at) = (
      SELECT CASE WHEN again THEN excluded.failures ELSE f.failures + excluded.failures END,
        CASE WHEN again THEN excluded.first_failure_at ELSE f.first_failure_at END
      FROM (SELECT EXISTS (
        SELECT FROM m2m.terminal AS t JOIN m2m.session AS s ON s.terminal_id = t.id
        WHERE t.serial = f.serial AND s.last_login_at > f.last_failure_at) AS again) AS since),
    last_failure_at = excluded.last_failure_at,
    last_failure_reason = excluded.last_failure_reason, address = excluded.address,
    recent = (
      SELECT jsonb_agg(kind.entry ORDER BY kind.at DESC) FROM (
        SELECT max((e ->> 'at')::float8) AS at, (e - '{at,since,times,address}'::text[]) || jsonb_build_object(
          'at', max((e ->> 'at')::float8), 'since', min((e ->> 'since')::float8), 'times', sum((e ->> 'times')::bigint),
          'address', (array_agg(e ->> 'address' ORDER BY (e ->> 'at')::float8 DESC))[1]) AS entry
        FROM jsonb_array_elements(f.recent || excluded.recent) AS e
        GROUP BY e - '{at,since,times,address}'::text[] ORDER BY 1 DESC LIMIT 10
      ) AS kind)`;

const REPLACED = `
  SELECT t.serial, c.replaced_uplink_password
  FROM m2m.terminal AS t JOIN m2m.credential AS c ON c.terminal_id = t.id
  WHERE t.serial = ANY ($1::text[]) AND c.replaced_uplink_password IS NOT NULL`;

/** A login that was refused. */
export interface Attempt {
  readonly serial: string;
  /** False: nobody has that serial. */
  readonly known: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Result code's label: what the terminal was told. */
  readonly result: string;
  /** The cause inside. */
  readonly reason: string;
  readonly address: string;
  /** What the frame claims and how it came, for the explanation. */
  readonly claims: Readonly<Record<string, string | undefined>>;
  /** Where the digest was wrong: under which record it was checked. */
  readonly suspect?: { readonly message: Decoded; readonly record: TerminalRecord } | undefined;
}

/** What a wrong digest was nearly (flows/nearMiss.ts). */
export type Search = (suspect: {
  message: Decoded;
  record: TerminalRecord;
  replacedPassword: Buffer | undefined;
  now: number;
}) => string | undefined;

export interface FailuresOptions {
  readonly database: Database;
  readonly ring: () => KeyRing;
  readonly search: Search;
  readonly onError: (error: unknown) => void;
}

interface Noted {
  readonly failures: number;
  readonly attempt: Attempt;
}

export class Failures {
  private noted = new Map<string, Noted>();
  private strangers = 0;
  private suspects = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: FailuresOptions) {}

  note(attempt: Attempt): void {
    const before = this.noted.get(attempt.serial);
    if (before === undefined && !this.hasRoom(attempt)) return;
    const searched = attempt.suspect !== undefined && this.suspects < SEARCHES;
    if (searched) this.suspects++;
    this.noted.set(attempt.serial, {
      failures: (before?.failures ?? 0) + 1,
      // Frames are not held in memory for more than what is searched.
      attempt: searched ? attempt : { ...attempt, suspect: undefined },
    });
    this.timer ??= setTimeout(() => void this.write(), WRITE_INTERVAL).unref();
  }

  /** Writes what was noted. Never throws. */
  async write(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    const rows = [...this.noted.values()].sort((one, other) =>
      one.attempt.serial < other.attempt.serial ? -1 : 1,
    );
    this.noted = new Map();
    this.strangers = this.suspects = 0;
    const { database, onError } = this.options;
    if (rows.length === 0 || !database.available) return;
    try {
      const findings = await this.findings(rows);
      await database.query({ name: 'failures', text: WRITE, values: columns(rows, findings) });
    } catch (error) {
      onError(error);
    }
  }

  private hasRoom({ known }: Attempt): boolean {
    if (this.noted.size >= CAPACITY || (!known && this.strangers >= STRANGERS)) return false;
    if (!known) this.strangers++;
    return true;
  }

  /** Near misses by serial. The event loop gets its turn between two searches. */
  private async findings(rows: readonly Noted[]): Promise<Map<string, string>> {
    const suspects = rows.filter(({ attempt }) => attempt.suspect !== undefined);
    const found = new Map<string, string>();
    if (suspects.length === 0) return found;
    const replaced = await this.replacedPasswords(suspects.map(({ attempt }) => attempt.serial));
    for (const { attempt } of suspects) {
      if (attempt.suspect === undefined) continue;
      const { serial, at, suspect } = attempt;
      const finding = this.options.search({ ...suspect, replacedPassword: replaced.get(serial), now: at });
      if (finding !== undefined) found.set(serial, finding);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return found;
  }

  private async replacedPasswords(serials: readonly string[]): Promise<Map<string, Buffer>> {
    const { database, ring } = this.options;
    const { rows } = await database.query({
      name: 'replaced-passwords',
      text: REPLACED,
      values: [textArray(serials)],
    });
    return new Map(
      rows.flatMap(([serial, stored]) => {
        const opened = openOrNot(ring(), serial as string, stored as Buffer);
        return opened === undefined ? [] : [[serial as string, opened] as const];
      }),
    );
  }
}

/** A replaced password lets nobody in: one that does not open is worth no alarm, and must not cost the rest. */
function openOrNot(ring: KeyRing, serial: string, stored: Buffer): Buffer | undefined {
  try {
    return unseal(ring, 'uplink_password', serial, stored);
  } catch (error) {
    if (error instanceof UnsealError) return undefined;
    throw error;
  }
}

function columns(rows: readonly Noted[], findings: ReadonlyMap<string, string>): string[] {
  return [
    textArray(rows.map(({ attempt }) => attempt.serial)),
    plainArray(rows.map(({ failures }) => failures)),
    plainArray(rows.map(({ attempt }) => attempt.at / 1000)),
    textArray(rows.map(({ attempt }) => attempt.reason)),
    textArray(rows.map(({ attempt }) => attempt.address)),
    textArray(rows.map((row) => JSON.stringify([entry(row, findings.get(row.attempt.serial))]))),
  ];
}

function entry({ failures, attempt }: Noted, finding: string | undefined) {
  const { at, result, reason, address, claims } = attempt;
  const seconds = at / 1000;
  return { result, reason, finding, ...claims, at: seconds, since: seconds, times: failures, address };
}
