/** Options of `m2m bench`, and what is checked of them before anything is started. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { availableParallelism } from 'node:os';
import { HMAC_SHA256, type SignedSuite } from '../../protocol/suites';
import type { Where } from '../../terminal/connection';
import { MOST_TERMINALS } from '../../terminal/load/identity';
import { tooManyLogins } from '../../terminal/load/plan';
import { MOST_THREADS } from '../../terminal/load/sources';
import { usage } from '../errors';
import { secondsValue, suiteValue, whereValue } from '../values';

/** As the command line gives them; times in seconds. */
export interface BenchOptions {
  readonly connect?: Where;
  readonly databaseUrl?: string;
  readonly echo?: true;
  readonly threads: number;
  readonly terminals?: number;
  readonly first: number;
  readonly seed: string;
  readonly suite: SignedSuite;
  readonly key?: true;
  readonly wrong: number;
  readonly beating: number;
  readonly beatEvery: number;
  readonly verify: number;
  readonly timeout: number;
  readonly json?: true;
  readonly connections: 'new' | 'persistent';
  readonly loop: 'closed' | 'open';
  readonly concurrency?: number;
  readonly rate?: number;
  readonly logins?: number;
  readonly for?: number;
  readonly warmUp?: number;
  readonly from?: number;
  readonly to?: number;
  readonly steps: number;
  readonly within: number;
  readonly giveUp: number;
  readonly svg?: string;
}

export type Shape = 'steady' | 'ramp' | 'storm';

/** Parser of a whole number. */
export const whole = (low: number, high: number) => (text: string) => {
  const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : NaN;
  if (value >= low && value <= high) return value;
  throw new InvalidArgumentError(`It must be a whole number from ${low} to ${high}.`);
};

/** A number above 0; fractions are allowed. */
export function amount(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= 10_000_000) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
}

/** As secondsValue, but 0 is allowed too. */
function warmUpValue(text: string): number {
  return /^0+(\.0+)?$/.test(text) ? 0 : secondsValue(text);
}

/** @param terminals default of --terminals */
export function addCommonOptions(command: Command, terminals: number): Command {
  return command
    .option(
      '--connect <host:port>',
      'a gateway that runs; without it a throw-away database and gateway',
      whereValue,
    )
    .option(
      '--database-url <url>',
      'its database, as its owner, where the terminals are provisioned (default: DATABASE_URL)',
    )
    .option(
      '--echo',
      'what --connect names is no gateway and sends each frame back as its response (scripts/bench): nothing is provisioned or verified',
    )
    .option('--terminals <number>', `how many log in (default: ${terminals})`, whole(1, MOST_TERMINALS))
    .option(
      '--first <number>',
      'number of the first of them, where several generators share a gateway',
      whole(0, MOST_TERMINALS),
      0,
    )
    .option('--seed <text>', 'what their secrets follow from', 'bench')
    .option(
      '--threads <number>',
      'generator threads',
      whole(1, MOST_THREADS - 1),
      Math.max(1, Math.floor(availableParallelism() / 2)),
    )
    .option('--key', 'ask for session keys')
    .addOption(
      new Option('--suite <number>', '1: MD5, 2: HMAC-SHA-256').argParser(suiteValue).default(HMAC_SHA256),
    )
    .option('--wrong <percent>', 'terminals whose password is always wrong', whole(0, 100), 0)
    .option('--beating <number>', 'other terminals that send a HEARTBEAT each second', whole(0, 100_000), 0)
    .option('--beat-every <seconds>', 'how often they do, where it is not each second', amount, 1)
    .option(
      '--verify <number>',
      'verify the digest of every so many-th answer; 0: of none',
      whole(0, 1e9),
      100,
    )
    .option('--json', 'one JSON document in place of the table');
}

export function addLoopOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--connections <kind>', 'a new one for each login, or standing ones')
        .choices(['new', 'persistent'])
        .default('new'),
    )
    .option('--for <seconds>', 'how long is measured (default: 10)', secondsValue)
    .option('--warm-up <seconds>', 'before it, not counted (default: 2, with --logins 0)', warmUpValue)
    .option('--timeout <seconds>', 'for each answer', secondsValue, 10);
}

/** Options as they are used. */
export interface BenchPlan extends Omit<BenchOptions, 'terminals' | 'warmUp' | 'concurrency'> {
  readonly shape: Shape;
  readonly terminals: number;
  readonly warmUp: number;
  readonly concurrency: number;
  /** Undefined with --logins. */
  readonly seconds: number | undefined;
  readonly rates: readonly number[];
}

/** Default of --concurrency, where there are as many terminals. */
const CONCURRENCY = 256;

/** What the options say together. Throws a CliError with exit code 2. @param rates of the steps of a ramp */
export function planOf(
  shape: Shape,
  options: BenchOptions,
  terminals: number,
  rates: readonly number[],
): BenchPlan {
  const measured = options.logins === undefined ? (options.for ?? 10) : undefined;
  const count = options.terminals ?? terminals;
  const plan = {
    ...options,
    shape,
    terminals: count,
    verify: options.echo ? 0 : options.verify,
    concurrency: options.concurrency ?? Math.min(CONCURRENCY, count),
    warmUp: options.warmUp ?? (measured === undefined || shape === 'storm' ? 0 : 2),
    seconds: measured,
    rates,
  };
  if (plan.echo && plan.connect === undefined) throw usage('--echo needs --connect');
  checkTogether(plan);
  const problem = replayProblem(plan);
  if (problem !== undefined) throw usage(problem);
  return plan;
}

function checkTogether({ shape, loop, rate, concurrency, terminals, logins, ...plan }: BenchPlan): void {
  if (shape === 'steady' && loop === 'open' && rate === undefined) throw usage('--loop open needs --rate');
  if (shape === 'steady' && loop === 'closed' && rate !== undefined) throw usage('--rate is for --loop open');
  if (logins !== undefined && plan.for !== undefined) throw usage('--logins and --for exclude each other');
  if (shape === 'steady' && loop === 'closed' && concurrency > terminals)
    throw usage(
      `--concurrency ${concurrency} is more than --terminals ${terminals}, each of which has one login under way at most`,
    );
  if (plan.threads > terminals)
    throw usage(`--threads ${plan.threads} is more than --terminals ${terminals}`);
  if (plan.first + terminals + plan.beating > MOST_TERMINALS)
    throw usage(`--first, --terminals and --beating must not be more than ${MOST_TERMINALS} together`);
}

/** How many logins are known beforehand; a closed loop over a time ends where its terminals are used up. */
function replayProblem(plan: BenchPlan): string | undefined {
  const { shape, loop, logins, seconds, warmUp, rate = 0, terminals, connections } = plan;
  const standing = connections === 'persistent' && shape !== 'storm' ? terminals : 0;
  if (shape === 'storm' || plan.echo) return undefined;
  if (shape === 'ramp') {
    const each = seconds ?? 0;
    const all = plan.rates.reduce((sum, one) => sum + one * each, (plan.rates[0] ?? 0) * warmUp);
    return tooManyLogins(standing + Math.ceil(all), terminals, each * plan.rates.length + warmUp);
  }
  if (loop === 'open') {
    const took = warmUp + (seconds ?? (logins ?? 0) / rate);
    return tooManyLogins(standing + Math.ceil(rate * took), terminals, took);
  }
  return logins === undefined ? undefined : tooManyLogins(standing + logins, terminals, 0);
}
