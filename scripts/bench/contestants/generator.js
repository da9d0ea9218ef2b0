// `m2m bench`, which is the load on the gateway and on the bare server alike.
const { join } = require('node:path');

const MAIN = join(__dirname, '..', '..', '..', 'dist', 'cli', 'main.js');

/** What everybody is measured with. */
const LOAD = {
  /** Each may log in 60 times: enough for 25,000 logins a second over 28 seconds. */
  terminals: 12_000,
  /** Logins under way at any time. */
  concurrency: 256,
  /** Seconds before the measurement: caches, and V8, which compiles for as long on two processors that are busy. */
  warmUp: 15,
};

/** @param more options of `m2m bench` @returns figures of one turn */
async function benchRun(scope, { connections, seconds }, more) {
  const { terminals, concurrency, warmUp } = LOAD;
  const load = { connections, for: seconds, terminals, concurrency, 'warm-up': warmUp };
  const args = Object.entries(load).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const all = [MAIN, 'bench', '--json', '--key', ...args, ...more];
  const out = await scope.run(process.execPath, all, { endBy: 'SIGINT' });
  const { logins, cpu_seconds, generator, machine, notes } = JSON.parse(out);
  const [{ logins_per_second, latency_ms, failed }] = logins;
  return {
    per_second: logins_per_second,
    latency_ms,
    failed,
    cpu_seconds,
    generator_processors: generator.processors,
    signed_late: generator.signed_late,
    ...(machine.postgres !== undefined && { postgres: machine.postgres }),
    ...(machine.settings !== undefined && { settings: machine.settings }),
    notes,
  };
}

module.exports = { benchRun, LOAD, MAIN };
