/** Runs of one target by a seed. */
import { corpusOf } from './corpus';
import { generator, mutated } from './mutate';
import type { Target } from './target';

export interface Campaign {
  readonly seed: number;
  readonly runs: number;
}

/** Throws at the first input for which something does not hold; @returns the kinds of outcome there were */
export async function campaign(name: string, target: Target, { seed, runs }: Campaign): Promise<Set<string>> {
  const inputs = [...target.seeds, ...corpusOf(name).map(({ bytes }) => bytes)];
  const random = generator(seed);
  const kinds = new Set<string>();
  for (let run = 0; run < inputs.length + runs; run++) {
    const bytes = inputs[run] ?? mutated(inputs, random);
    try {
      kinds.add(await target.run(bytes));
    } catch (error) {
      const where = `FUZZ_SEED=${seed}, ${name}, run ${run}: ${bytes.toString('hex')}`;
      throw new Error(`${where}\n${(error as Error).message}`, { cause: error });
    }
  }
  return kinds;
}
