/**
 * Coverage-guided fuzzing of test/fuzz/targets: inputs that reach new blocks of src/ are mutated further, made small,
 * and kept in test/fuzz/corpus, which every test run replays.
 *
 *     node scripts/fuzz/guided.js [--seconds 60] [--seed 1] [target …]
 */
'use strict';
const { createHash } = require('node:crypto');
const { mkdirSync, readdirSync, rmSync, writeFileSync } = require('node:fs');
const { basename, join } = require('node:path');
const { parseArgs } = require('node:util');
const { Coverage } = require('./coverage');
require('./typescript');

const ROOT = join(__dirname, '..', '..');
const { TARGETS } = require('../../test/fuzz/targets/index.ts');
const { corpusOf } = require('../../test/fuzz/corpus.ts');
const { generator, mutated } = require('../../test/fuzz/mutate.ts');

/** Inputs between two looks at the coverage, which costs as much as many of them. */
const BATCH = 64;
/** Tries to make one input smaller. */
const SHRINKS = 150;
const MOST_KEPT = 20;

class Hunt {
  constructor(name, random, coverage) {
    this.name = name;
    this.target = TARGETS[name];
    this.random = random;
    this.coverage = coverage;
    this.inputs = [];
    this.runs = 0;
    this.findings = [];
  }

  async run(bytes) {
    this.runs++;
    try {
      await this.target.run(bytes);
    } catch (error) {
      if (this.findings.every(({ why }) => why !== error.message))
        this.findings.push({ why: error.message, bytes: Buffer.from(bytes) });
    }
  }

  /** Source characters that this input alone reaches for the first time. */
  async gain(bytes, keep) {
    this.coverage.skip();
    await this.run(bytes);
    return this.coverage.fresh(keep);
  }

  async begin() {
    for (const bytes of this.target.seeds) {
      await this.gain(bytes, true);
      this.inputs.push({ bytes, gain: 0 });
    }
    const seeded = this.coverage.blocks;
    for (const { bytes } of corpusOf(this.name)) await this.keep(bytes);
    return seeded;
  }

  async keep(bytes) {
    const gain = await this.gain(bytes, false);
    if (gain === 0) return;
    const small = await this.smaller(bytes, gain);
    await this.gain(small, true);
    this.inputs.push({ bytes: small, gain });
  }

  /** Takes away stretches, long ones first, as long as what is new is still reached. */
  async smaller(bytes, gain) {
    let best = bytes;
    let tries = SHRINKS;
    for (let size = best.length >> 1; size > 0 && tries > 0; size >>= 1) {
      for (let at = 0; at < best.length && tries > 0; tries--) {
        const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
        if ((await this.gain(shorter, false)) >= gain) best = shorter;
        else at += size;
      }
    }
    return best;
  }

  async hunt(until) {
    const from = () => this.inputs.map(({ bytes }) => bytes);
    while (Date.now() < until && this.findings.length < 10) {
      const batch = Array.from({ length: BATCH }, () => mutated(from(), this.random));
      this.coverage.skip();
      for (const bytes of batch) await this.run(bytes);
      if (this.coverage.fresh(false) === 0) continue;
      for (const bytes of batch) await this.keep(bytes);
    }
  }

  /** Those that reached most, in files named by their content; files named by hand stay. */
  save() {
    const folder = join(ROOT, 'test', 'fuzz', 'corpus', this.name);
    const kept = this.inputs
      .filter(({ gain, bytes }) => gain > 0 && bytes.length <= 4096)
      .sort((one, other) => other.gain - one.gain)
      .slice(0, MOST_KEPT);
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(folder)) if (/^[0-9a-f]{12}$/.test(name)) rmSync(join(folder, name));
    for (const { bytes } of kept) {
      const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
      writeFileSync(join(folder, hash), bytes);
    }
    return kept.length;
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
    allowPositionals: true,
  });
  const unknown = positionals.find((name) => !(name in TARGETS));
  if (unknown !== undefined)
    throw new Error(`no target ${unknown}; there are ${Object.keys(TARGETS).join(', ')}`);
  for (const name of positionals.length > 0 ? positionals : Object.keys(TARGETS)) {
    const hunt = new Hunt(name, generator(Number(values.seed)), new Coverage(join(ROOT, 'src')));
    const seeded = await hunt.begin();
    await hunt.hunt(Date.now() + Number(values.seconds) * 1000);
    const kept = hunt.save();
    const { runs, coverage, findings } = hunt;
    console.log(`| ${name} | ${runs} | ${seeded} | ${coverage.blocks} | ${kept} | ${findings.length} |`);
    for (const { why, bytes } of findings) console.log(`  ${why}: ${bytes.toString('hex')}`);
    if (findings.length > 0) process.exitCode = 1;
  }
}

main().catch((error) => {
  console.error(`${basename(__filename)}: ${error.stack}`);
  process.exitCode = 1;
});
