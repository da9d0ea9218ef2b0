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
/** Kinds of attempts, by terminal, noted between two writes; of more than these the rest goes unnoted. */
const CAPACITY = 5_000;
/** Of these, with serials that nobody has: anybody may send as many as he likes. */
const STRANGERS = 25;
/** Wrong digests between two writes whose near miss is searched for; what more would leave to collect, heartbeats wait for. */
const SEARCHES = 3;
/** Kinds of a terminal that are kept, the latest ones. */
const KINDS = 10;

/** Attempts that came to the same are one entry with a count. */
const WRITE = `
  INSERT INTO m2m.failure AS f
    (serial, failures, first_failure_at, last_failure_at, last_failure_reason, address, recent)
  SELECT serial, failures, to_timestamp(since), to_timestamp(at), reason, address::inet, recent::jsonb
  FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::text[], $6::text[], $7::text[])
    AS i (serial, failures, since, at, reason, address, recent)
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
        GROUP BY e - '{at,since,times,address}'::text[] ORDER BY 1 DESC LIMIT ${KINDS}
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

/** What a wrong digest was nearly (flows/nearMiss.ts); yields where it may be interrupted. */
export type Search = (suspect: {
  message: Decoded;
  record: TerminalRecord;
  replacedPassword: Buffer | undefined;
  now: number;
}) => Generator<undefined, string | undefined>;

export interface FailuresOptions {
  readonly database: Database;
  readonly ring: () => KeyRing;
  readonly search: Search;
  readonly onError: (error: unknown) => void;
}

/** Attempts of one terminal between two writes that came to the same. */
interface Noted {
  readonly times: number;
  /** Milliseconds since the epoch, of the first one. */
  readonly since: number;
  /** The last one. */
  readonly attempt: Attempt;
}

/** As m2m.failure.recent has it. */
interface Entry {
  readonly at: number;
  readonly since: number;
  readonly times: number;
  readonly reason: string;
  readonly address: string;
}

interface Row {
  readonly serial: string;
  /** Newest first. */
  readonly entries: readonly Entry[];
}

export class Failures {
  private noted = new Map<string, Noted>();
  private strangers = 0;
  private suspects = 0;
  private timer: NodeJS.Timeout | undefined;
  private written = Promise.resolve();

  constructor(private readonly options: FailuresOptions) {}

  note(attempt: Attempt): void {
    const searched = attempt.suspect !== undefined && this.suspects < SEARCHES;
    const key = keyOf(attempt, searched ? this.suspects : undefined);
    const before = this.noted.get(key);
    if (before === undefined && !this.hasRoom(attempt)) return;
    if (searched) this.suspects++;
    this.noted.set(key, {
      times: (before?.times ?? 0) + 1,
      since: before?.since ?? attempt.at,
      // Frames are not held in memory for more than what is searched.
      attempt: searched ? attempt : { ...attempt, suspect: undefined },
    });
    this.timer ??= setTimeout(() => void this.write(), WRITE_INTERVAL).unref();
  }

  /** Writes what was noted, after what is being written. Never throws. */
  write(): Promise<void> {
    return (this.written = this.written.then(() => this.writeNoted()));
  }

  private async writeNoted(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    const noted = [...this.noted.values()];
    this.noted = new Map();
    this.strangers = this.suspects = 0;
    const { database, onError } = this.options;
    if (noted.length === 0 || !database.available) return;
    try {
      const rows = rowsOf(noted, await this.findings(noted));
      await database.query({ name: 'failures', text: WRITE, values: columns(rows) });
    } catch (error) {
      onError(error);
    }
  }

  private hasRoom({ known }: Attempt): boolean {
    if (this.noted.size >= CAPACITY || (!known && this.strangers >= STRANGERS)) return false;
    if (!known) this.strangers++;
    return true;
  }

  /** What the searched ones were nearly. */
  private async findings(noted: readonly Noted[]): Promise<Map<Noted, string>> {
    const suspects = noted.filter(({ attempt }) => attempt.suspect !== undefined);
    const found = new Map<Noted, string>();
    if (suspects.length === 0) return found;
    const replaced = await this.replacedPasswords(suspects.map(({ attempt }) => attempt.serial));
    for (const one of suspects) {
      const { serial, at, suspect } = one.attempt;
      if (suspect === undefined) continue;
      const search = this.options.search({ ...suspect, replacedPassword: replaced.get(serial), now: at });
      const finding = await inTurns(search);
      if (finding !== undefined) found.set(one, finding);
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

/** The event loop gets its turn wherever the work may be interrupted, and after it. */
async function inTurns<T>(work: Generator<undefined, T>): Promise<T> {
  for (;;) {
    const { done, value } = work.next();
    await new Promise((resolve) => setImmediate(resolve));
    if (done) return value;
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

/** @param suspect number of one that is searched: what it was nearly is not known before, so that it stands alone */
function keyOf({ serial, result, reason, claims }: Attempt, suspect: number | undefined): string {
  return JSON.stringify([serial, result, reason, claims, suspect]);
}

/** A row for each terminal, in the order in which all gateways lock them. */
function rowsOf(noted: readonly Noted[], findings: ReadonlyMap<Noted, string>): Row[] {
  const kinds = new Map<string, Map<string, Entry>>();
  for (const one of noted) {
    const { serial } = one.attempt;
    const ofSerial = kinds.get(serial) ?? new Map<string, Entry>();
    kinds.set(serial, ofSerial);
    addEntry(ofSerial, one, findings.get(one));
  }
  return [...kinds]
    .map(([serial, entries]) => ({ serial, entries: [...entries.values()].sort((a, b) => b.at - a.at) }))
    .sort((one, other) => (one.serial < other.serial ? -1 : 1));
}

function addEntry(
  entries: Map<string, Entry>,
  { times, since, attempt }: Noted,
  finding: string | undefined,
): void {
  const { result, reason, claims } = attempt;
  const kind = { result, reason, finding, ...claims };
  const key = JSON.stringify(kind);
  const before = entries.get(key);
  const [at, first] = [attempt.at / 1000, since / 1000];
  const newer = before === undefined || at >= before.at;
  entries.set(key, {
    ...kind,
    at: newer ? at : before.at,
    since: Math.min(before?.since ?? first, first),
    times: times + (before?.times ?? 0),
    address: newer ? attempt.address : before.address,
  });
}

function columns(rows: readonly Row[]): string[] {
  const each = <T>(pick: (entries: readonly Entry[]) => T): T[] => rows.map(({ entries }) => pick(entries));
  const newest = (entries: readonly Entry[]): Entry => entries[0] as Entry;
  return [
    textArray(rows.map(({ serial }) => serial)),
    plainArray(each((entries) => entries.reduce((sum, { times }) => sum + times, 0))),
    plainArray(each((entries) => Math.min(...entries.map(({ since }) => since)))),
    plainArray(each((entries) => newest(entries).at)),
    textArray(each((entries) => newest(entries).reason)),
    textArray(each((entries) => newest(entries).address)),
    textArray(each((entries) => JSON.stringify(entries.slice(0, KINDS)))),
  ];
}
