// `m2m bench`, which is the load on the gateway and on the bare server alike.
const { join } = require('node:path');

const MAIN = join(__dirname, '..', '..', '..', 'dist', 'cli', 'main.js');

/** Seconds before the measurement, for caches and compilers. */
const WARM_UP = 2;

/** @param more options of `m2m bench` @returns figures of one turn */
async function benchRun(scope, { connections, seconds }, more) {
  const args = ['bench', '--connections', connections, '--for', String(seconds), '--json', '--key', ...more];
  const out = await scope.run(process.execPath, [MAIN, ...args, '--warm-up', String(WARM_UP)], { endBy: 'SIGINT' });
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

module.exports = { benchRun, MAIN };
