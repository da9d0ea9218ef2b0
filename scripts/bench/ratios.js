// Figures of many rounds as medians with their spread, and the ratios that are compared: both sides of a ratio are of
// the same round, since a machine's pace drifts and ratios hold.

/** A turn of a contestant, by this name in a round: `gateway new`. */
const turnName = (contestant, connections) => `${contestant} ${connections}`;

/** Above 1: the gateway is faster. */
const RATIOS = ['new', 'persistent'].flatMap((connections) =>
  [
    ['bare', connections],
    ['bare-batched', connections],
    ['radius', 'udp'],
  ].map(([other, otherConnections]) => ({
    name: `${connections}: gateway / ${other}`,
    over: turnName('gateway', connections),
    under: turnName(other, otherConnections),
  })),
);

/** @param values at least one */
function spreadOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, low: sorted[0], high: sorted.at(-1) };
}

/** Medians of each turn's figures over all rounds that have it, in the order of their first round. */
function figuresOf(rounds) {
  const names = [...new Set(rounds.flatMap((round) => Object.keys(round)))];
  return names.map((name) => {
    const turns = rounds.flatMap((round) => round[name] ?? []);
    const p99 = turns.flatMap(({ latency_ms }) => latency_ms?.p99 ?? []);
    return {
      name,
      rounds: turns.length,
      per_second: spreadOf(turns.map(({ per_second }) => per_second)),
      ...(p99.length > 0 && { p99_ms: spreadOf(p99) }),
      failed: turns.reduce((sum, { failed = 0 }) => sum + failed, 0),
    };
  });
}

/** Those of RATIOS that at least one round has both sides of. */
function ratiosOf(rounds) {
  return RATIOS.flatMap(({ name, over, under }) => {
    const values = rounds.flatMap((round) => {
      const [one, other] = [round[over]?.per_second, round[under]?.per_second];
      return one > 0 && other > 0 ? [one / other] : [];
    });
    return values.length === 0 ? [] : [{ name, rounds: values.length, ...spreadOf(values) }];
  });
}

const whole = (value) => value.toFixed(0);
const fraction = (value) => value.toFixed(2);
const spread = ({ low, high }, text) => `${text(low)} to ${text(high)}`;

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return rows.map(line).join('\n');
}

function reportText({ figures, ratios }) {
  const figureRows = figures.map(({ name, per_second, p99_ms, failed }) => [
    name,
    whole(per_second.median),
    spread(per_second, whole),
    p99_ms === undefined ? '-' : p99_ms.median.toFixed(1),
    String(failed),
  ]);
  const ratioRows = ratios.map((ratio) => [ratio.name, fraction(ratio.median), spread(ratio, fraction)]);
  const tables = [table([['logins', 'per second', 'spread', 'p99 ms', 'failed'], ...figureRows])];
  if (ratios.length > 0) tables.push(table([['ratio', 'median', 'spread'], ...ratioRows]));
  return `${tables.join('\n\n')}\n`;
}

module.exports = { figuresOf, ratiosOf, reportText, spreadOf, turnName };
