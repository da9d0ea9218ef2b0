/** Whether two sets of measurements differ, for tests of timing. */

/** Standard normal quantile of 99.9 %, two-sided. */
export const Z_999 = 3.2905;

export interface Comparison {
  /** Mann-Whitney U as a standard normal deviate: beyond ±Z_999 the two differ, with 99.9 % confidence. */
  readonly z: number;
  /** How often a measurement of the first set is below one of the second: 0.5 where nothing tells them apart. */
  readonly below: number;
  /** Difference of the medians, in the unit of the measurements. */
  readonly medians: number;
  /** Difference of the means with its 99.9 % interval (Welch). */
  readonly means: { readonly difference: number; readonly margin: number };
}

export function compare(first: readonly number[], second: readonly number[]): Comparison {
  const { rankSum, ties } = ranks(first, second);
  const [n, m] = [first.length, second.length];
  const u = rankSum - (n * (n + 1)) / 2;
  const variance = ((n * m) / 12) * (n + m + 1 - ties / ((n + m) * (n + m - 1)));
  const margin = Z_999 * Math.sqrt(spread(first) / n + spread(second) / m);
  return {
    z: variance === 0 ? 0 : (u - (n * m) / 2) / Math.sqrt(variance),
    below: 1 - u / (n * m),
    medians: median(first) - median(second),
    means: { difference: mean(first) - mean(second), margin },
  };
}

/** Sum of the first set's ranks among all; equal ones share theirs. */
function ranks(first: readonly number[], second: readonly number[]) {
  const all = [...first.map((value) => ({ value, own: 1 })), ...second.map((value) => ({ value, own: 0 }))];
  all.sort((one, other) => one.value - other.value);
  let [rankSum, ties] = [0, 0];
  for (let from = 0; from < all.length;) {
    let to = from;
    while (to < all.length && all[to]!.value === all[from]!.value) to++;
    const rank = (from + 1 + to) / 2;
    for (const { own } of all.slice(from, to)) rankSum += own * rank;
    ties += (to - from) ** 3 - (to - from);
    from = to;
  }
  return { rankSum, ties };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function spread(values: readonly number[]): number {
  const middle = mean(values);
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
}
