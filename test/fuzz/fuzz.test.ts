/**
 * Every reader of strangers' bytes under mutated input: so many runs by one seed, the same on every machine.
 * FUZZ_RUNS=100000 FUZZ_SEED=7 jest test/fuzz looks further; a failure is told by its seed and its bytes.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { campaign } from './campaign';
import { corpusOf } from './corpus';
import { TARGETS } from './targets';

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_123) >>> 0;
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 1_500);

describe.each(Object.entries(TARGETS))('%s', (name, target) => {
  test('the corpus', async () => {
    for (const entry of corpusOf(name)) {
      expect(entry.bytes.length).toBeLessThanOrEqual(4096);
      expect([entry.name, typeof (await target.run(entry.bytes))]).toEqual([entry.name, 'string']);
    }
  });

  test(`${RUNS} runs by seed ${SEED}`, async () => {
    const kinds = await campaign(name, target, { seed: SEED, runs: RUNS });
    expect(kinds.size).toBeGreaterThanOrEqual(target.kinds);
  });
});

test('no corpus is without a target, and none is large', () => {
  const folders = readdirSync(join(__dirname, 'corpus'));
  expect(folders.filter((name) => !(name in TARGETS))).toEqual([]);
  for (const name of folders) expect(corpusOf(name).length).toBeLessThanOrEqual(25);
});
