#!/usr/bin/env node
// Says whether a change made the gateway slower: compares the ratios of a result of scripts/bench/compare with those
// of scripts/bench/baseline.json, and names each that is below 0.85 of it.
//
//     check.js RESULT.json            exit code 0: none is, 1: some are, 2: it cannot be told
//     check.js RESULT.json --store    makes this result the baseline
const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

const BASELINE = join(__dirname, 'baseline.json');
const LEAST = 0.85;

/** What of a result the baseline keeps. */
function baselineOf({ taken_at, machine, ratios }) {
  return { taken_at, machine, ratios: Object.fromEntries(ratios.map(({ name, median }) => [name, median])) };
}

/** A sentence for each ratio of the baseline that got worse, or that the result lacks. */
function findings(result, baseline) {
  const now = new Map(result.ratios.map(({ name, median }) => [name, median]));
  return Object.entries(baseline.ratios).flatMap(([name, before]) => {
    const median = now.get(name);
    if (median === undefined) return [`${name}: not measured`];
    if (median >= LEAST * before) return [];
    return [
      `${name}: ${median.toFixed(3)}, which is ${(median / before).toFixed(2)} of ${before.toFixed(3)}`,
    ];
  });
}

/** Ratios of one machine say little about another. */
function isOtherMachine({ machine }, baseline) {
  return machine?.cpu !== baseline.machine?.cpu || machine?.cores !== baseline.machine?.cores;
}

function main(args) {
  const [file] = args.filter((arg) => !arg.startsWith('-'));
  if (file === undefined) return tell(2, 'usage: check.js RESULT.json [--store]');
  const result = JSON.parse(readFileSync(file, 'utf8'));
  if (args.includes('--store')) {
    writeFileSync(BASELINE, `${JSON.stringify(baselineOf(result), undefined, 2)}\n`);
    return tell(0, `stored ${BASELINE}`);
  }
  if (!existsSync(BASELINE)) return tell(2, `there is no ${BASELINE} yet: check.js ${file} --store`);
  const baseline = JSON.parse(readFileSync(BASELINE, 'utf8'));
  if (isOtherMachine(result, baseline)) tell(0, 'the baseline was taken on another kind of machine');
  const worse = findings(result, baseline);
  for (const finding of worse) tell(1, finding);
  if (worse.length === 0) tell(0, `no ratio is below ${LEAST} of the baseline of ${baseline.taken_at}`);
}

function tell(code, line) {
  process.stdout.write(`${line}\n`);
  if (code !== 0) process.exitCode = code;
}

if (require.main === module) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    tell(2, `check: ${error.message}`);
  }
}
module.exports = { baselineOf, findings, isOtherMachine };
