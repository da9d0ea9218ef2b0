/** `m2m bench`: load on a gateway, and how it bears it. */
import { Option, type Command } from 'commander';
import { rampRates } from '../terminal/load/arrivals';
import { addCommonOptions, addLoopOptions, amount, planOf, whole, type BenchOptions } from './bench/options';
import { secondsValue } from './values';

/** Default of --terminals. */
const TERMINALS = 10_000;
const STORM_TERMINALS = 50_000;

export function register(program: Command): void {
  const bench = program
    .command('bench')
    .description(
      'Puts load on a gateway. Without --connect it starts one of its own on a throw-away database.',
    );
  steady(bench);
  ramp(bench);
  storm(bench);
}

function steady(bench: Command): void {
  addLoopOptions(
    addCommonOptions(
      bench.command('steady', { isDefault: true }).description('One load over some time (the default).'),
      TERMINALS,
    ),
  )
    .addOption(
      new Option('--loop <kind>', 'closed: so many logins at once; open: so many a second, whatever happens')
        .choices(['closed', 'open'])
        .default('closed'),
    )
    .option('--concurrency <number>', 'closed loop: logins under way (default: 256)', whole(1, 1_000_000))
    .option('--rate <number>', 'open loop: logins a second', amount)
    .option('--logins <number>', 'how many, in place of --for', whole(1, 100_000_000))
    .action((options: BenchOptions) => run('steady', options, TERMINALS, []));
}

function ramp(bench: Command): void {
  addLoopOptions(
    addCommonOptions(
      bench
        .command('ramp')
        .description(
          'An open loop in steps of rising rate, a row each, so that the knee shows. --for is of each step.',
        ),
      TERMINALS,
    ),
  )
    .requiredOption('--from <rate>', 'logins a second of the first step', amount)
    .requiredOption('--to <rate>', 'of the last step', amount)
    .option('--steps <number>', 'how many', whole(1, 1000), 8)
    .action((options: BenchOptions) =>
      run('ramp', options, TERMINALS, rampRates(options.from ?? 0, options.to ?? 0, options.steps)),
    );
}

function storm(bench: Command): void {
  addCommonOptions(
    bench
      .command('storm')
      .description(
        'All terminals connect at once. Who is answered BUSY or THROTTLED comes back when it was told to, who finds no connection after 1 to 5 s, until all are in.',
      ),
    STORM_TERMINALS,
  )
    .option('--within <seconds>', 'in which all connect', secondsValue, 1)
    .option('--give-up <seconds>', 'after which the rest stays outside', secondsValue, 300)
    .option('--timeout <seconds>', 'for each answer', secondsValue, 60)
    .option('--svg <file>', 'draw the curve')
    .action((options: BenchOptions) => run('storm', options, STORM_TERMINALS, []));
}

async function run(
  shape: 'steady' | 'ramp' | 'storm',
  options: BenchOptions,
  terminals: number,
  rates: readonly number[],
): Promise<void> {
  const plan = planOf(shape, options, terminals, rates);
  // Loaded when it is needed: help and wrong usage are answered at once.
  const { runBench } = await import('./bench/run.js');
  await runBench(plan);
}
