/** As test/fuzz, for longer and by another seed every day. */
import { campaign } from '../fuzz/campaign';
import { TARGETS } from '../fuzz/targets';

const SEED = Number(process.env['FUZZ_SEED'] ?? Math.floor(Date.now() / 86_400_000)) >>> 0;
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 50_000);

test.each(Object.entries(TARGETS))(`%s: ${RUNS} runs by seed ${SEED}`, async (name, target) => {
  const kinds = await campaign(name, target, { seed: SEED, runs: RUNS });
  expect(kinds.size).toBeGreaterThanOrEqual(target.kinds);
});
