/** What a run came to: counts and latencies, kept by each thread and added up at the end. */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from 'hdr-histogram-js';
import { OUTCOMES } from './outcomes';

/** Microseconds: ten minutes. */
const HIGHEST = 600_000_000;

/** Milliseconds that one entry of a curve stands for. */
export const CURVE_STEP = 100;

/** A latency histogram in microseconds, to three digits. */
function newHistogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
    useWebAssembly: false,
  });
}

/** @param milliseconds with fractions; may be below 0 by the clock's own error */
export function recordMs(histogram: Histogram, milliseconds: number): void {
  histogram.recordValue(Math.min(HIGHEST, Math.max(0, Math.round(milliseconds * 1000))));
}

/** How a storm went, a step each from its beginning. */
export interface CurveStep {
  /** Terminals that came in, less those whose connection was lost again. */
  in: number;
  /** Answers and failures by outcome. */
  readonly outcomes: Record<number, number>;
}

export interface Tally {
  /** From intended arrival or beginning to OK. */
  readonly ok: Histogram;
  /** The same to AUTH_FAILED, of terminals whose password is wrong. */
  readonly wrong: Histogram;
  /** Open loop: how long after its intended arrival a login was begun. */
  readonly lag: Histogram;
  /** By outcome: of terminals whose password is right, and of the others. */
  readonly outcomes: number[];
  readonly wrongOutcomes: number[];
  /** Storm: attempts that were put off by BUSY or THROTTLED, or found no connection. */
  readonly putOff: number[];
  readonly curve: CurveStep[];
  /** Answers whose digest was verified. */
  verified: number;
  signedLate: number;
  /** Arrivals that found every terminal under way until the end. */
  unsent: number;
  /** Threads whose terminals had all logged in as often as they may. */
  exhausted: number;
  /** Standing connections that were lost. */
  connectionsLost: number;
  /** Terminals that are in at the end of a storm. */
  in: number;
  /** The last time that counts, on the clock of clock.ts. */
  lastAt: number;
}

export function newTally(): Tally {
  return {
    ok: newHistogram(),
    wrong: newHistogram(),
    lag: newHistogram(),
    outcomes: new Array<number>(OUTCOMES).fill(0),
    wrongOutcomes: new Array<number>(OUTCOMES).fill(0),
    putOff: new Array<number>(OUTCOMES).fill(0),
    curve: [],
    verified: 0,
    signedLate: 0,
    unsent: 0,
    exhausted: 0,
    connectionsLost: 0,
    in: 0,
    lastAt: 0,
  };
}

export function curveStep(tally: Tally, sinceStart: number): CurveStep {
  const { curve } = tally;
  const step = Math.max(0, Math.floor(sinceStart / CURVE_STEP));
  while (curve.length <= step) curve.push({ in: 0, outcomes: {} });
  return curve[step]!;
}

/** A tally as it goes from thread to thread. */
export type PackedTally = Omit<Tally, 'ok' | 'wrong' | 'lag'> & Record<'ok' | 'wrong' | 'lag', string>;

export function pack(tally: Tally): PackedTally {
  const { ok, wrong, lag } = tally;
  return { ...tally, ok: packed(ok), wrong: packed(wrong), lag: packed(lag) };
}

const packed = (histogram: Histogram): string => encodeIntoCompressedBase64(histogram);

const HISTOGRAMS = ['ok', 'wrong', 'lag'] as const;
const LISTS = ['outcomes', 'wrongOutcomes', 'putOff'] as const;
const SUMS = ['verified', 'signedLate', 'unsent', 'exhausted', 'connectionsLost', 'in'] as const;

/** Adds up what threads have kept. */
export function merge(parts: readonly PackedTally[]): Tally {
  const sum = newTally();
  for (const part of parts) {
    for (const name of HISTOGRAMS) sum[name].add(unpacked(part[name]));
    for (const name of LISTS) addTo(sum[name], part[name]);
    for (const name of SUMS) sum[name] += part[name];
    part.curve.forEach((step, i) => addStep(curveStep(sum, i * CURVE_STEP), step));
    sum.lastAt = Math.max(sum.lastAt, part.lastAt);
  }
  return sum;
}

function unpacked(text: string): Histogram {
  return decodeFromCompressedBase64(text, 32, false);
}

function addTo(sum: number[], part: readonly number[]): void {
  part.forEach((count, i) => (sum[i] = (sum[i] ?? 0) + count));
}

function addStep(sum: CurveStep, part: CurveStep): void {
  sum.in += part.in;
  for (const [outcome, count] of Object.entries(part.outcomes))
    sum.outcomes[Number(outcome)] = (sum.outcomes[Number(outcome)] ?? 0) + count;
}
