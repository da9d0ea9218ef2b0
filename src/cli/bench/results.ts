/** Tallies as numbers for people and programs: what `--json` shows. */
import type { Histogram } from 'hdr-histogram-js';
import { AUTH_FAILED, isLater, isNoAnswer, OK, OUTCOMES, outcomeName } from '../../terminal/load/outcomes';
import type { Tally } from '../../terminal/load/tally';

/** Milliseconds, to the microsecond. */
export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p99_9: number;
  readonly max: number;
}

export interface LoginRow {
  /** Asked for, in an open loop; logins/s. */
  readonly rate?: number;
  /** From the first login that counts to the last answer. */
  readonly seconds: number;
  readonly logins_per_second: number;
  readonly ok: number;
  /** Logins that should have been answered OK and were not, or AUTH_FAILED with a wrong password and were not. */
  readonly failed: number;
  /** What right passwords came to besides OK, by name. */
  readonly refused: Readonly<Record<string, number>>;
  readonly latency_ms: Latency | undefined;
  readonly wrong_password?: {
    readonly auth_failed: number;
    readonly other: Readonly<Record<string, number>>;
    readonly latency_ms: Latency | undefined;
  };
  /** How long after it was due a login was begun: what the generator itself adds. */
  readonly start_delay_ms?: Latency;
  /** Arrivals that could not be begun, since each terminal was under way. */
  readonly unsent?: number;
}

function latencyOf(histogram: Histogram): Latency | undefined {
  if (histogram.totalCount === 0) return undefined;
  const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000;
  return { p50: at(50), p90: at(90), p99: at(99), p99_9: at(99.9), max: histogram.maxValue / 1000 };
}

/** @param from when the first login that counts could begin, on clock.ts */
export function loginRow(tally: Tally, from: number, rate?: number): LoginRow {
  const ok = tally.outcomes[OK] ?? 0;
  const refused = named(tally.outcomes, OK);
  const wrong = named(tally.wrongOutcomes, AUTH_FAILED);
  const right = tally.wrongOutcomes[AUTH_FAILED] ?? 0;
  const seconds = Math.max(0.001, (tally.lastAt - from) / 1000);
  const wrongLatency = latencyOf(tally.wrong);
  const lag = latencyOf(tally.lag);
  return {
    ...(rate !== undefined && { rate }),
    seconds: round(seconds, 3),
    logins_per_second: round(ok / seconds, 1),
    ok,
    failed: total(refused) + total(wrong),
    refused,
    latency_ms: latencyOf(tally.ok),
    ...(right + total(wrong) > 0 && {
      wrong_password: { auth_failed: right, other: wrong, latency_ms: wrongLatency },
    }),
    ...(lag && { start_delay_ms: lag }),
    ...(tally.unsent > 0 && { unsent: tally.unsent }),
  };
}

export interface BeatRow {
  readonly terminals: number;
  readonly beats: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly connections_lost: number;
  readonly latency_ms: Latency | undefined;
}

export function beatRow(tally: Tally, terminals: number): BeatRow {
  return {
    terminals,
    beats: tally.outcomes[OK] ?? 0,
    failed: named(tally.outcomes, OK),
    connections_lost: tally.connectionsLost,
    latency_ms: latencyOf(tally.ok),
  };
}

export interface StormRow extends LoginRow {
  readonly terminals: number;
  /** Terminals that are in at the end. */
  readonly in: number;
  readonly still_outside: number;
  /** Attempts that were put off, by what they came to. */
  readonly put_off: Readonly<Record<string, number>>;
  readonly connections_lost: number;
  /** One entry for each 100 ms since the first terminal was due. */
  readonly curve: readonly CurvePoint[];
}

export interface CurvePoint {
  /** Seconds since the beginning. */
  readonly at: number;
  /** Terminals that are in by then. */
  readonly in: number;
  /** Attempts put off by BUSY or THROTTLED since the last entry. */
  readonly later: number;
  /** Attempts that found no connection, or lost it. */
  readonly unanswered: number;
  /** By result. */
  readonly answers: Readonly<Record<string, number>>;
}

/** @param step milliseconds that an entry of the tally's curve stands for */
export function stormRow(tally: Tally, from: number, terminals: number, step: number): StormRow {
  const row = loginRow(tally, from);
  const refusedForGood = row.failed + (row.wrong_password?.auth_failed ?? 0);
  const outside = terminals - tally.in - refusedForGood;
  return {
    ...row,
    failed: row.failed + outside,
    terminals,
    in: tally.in,
    still_outside: outside,
    put_off: named(tally.putOff, -1),
    connections_lost: tally.connectionsLost,
    curve: curveOf(tally, step),
  };
}

function curveOf({ curve }: Tally, step: number): CurvePoint[] {
  let inside = 0;
  return curve.map((part, i) => {
    inside += part.in;
    const counts = Object.entries(part.outcomes).map(([code, n]) => [Number(code), n] as const);
    const sum = (which: (outcome: number) => boolean): number =>
      counts.reduce((all, [outcome, n]) => all + (which(outcome) ? n : 0), 0);
    return {
      at: round(((i + 1) * step) / 1000, 3),
      in: inside,
      later: sum(isLater),
      unanswered: sum(isNoAnswer),
      answers: Object.fromEntries(counts.map(([outcome, n]) => [outcomeName(outcome), n])),
    };
  });
}

/** Counts above 0 by name, without `except`. */
function named(counts: readonly number[], except: number): Record<string, number> {
  const found: Record<string, number> = {};
  for (let outcome = 0; outcome < OUTCOMES; outcome++) {
    const n = counts[outcome] ?? 0;
    if (n > 0 && outcome !== except) found[outcomeName(outcome)] = n;
  }
  return found;
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0);
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
