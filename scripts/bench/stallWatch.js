// Loaded into each process of a gateway (--require): for how long its event loop stood still, how much of that it worked,
// and how much it waited for a processor that somebody else had. Linux tells both (schedstats, of the main thread); the
// rest it slept, as for a disk. Writes them to STALLS, a folder, as lines of [milliseconds since the epoch, stall, worked,
// waited].
const { appendFileSync, closeSync, openSync, readSync } = require('node:fs');
const { join } = require('node:path');

const TICK = 10;
/** Milliseconds. Shorter ones are of no interest. */
const LEAST = 20;

/** Milliseconds that the main thread has worked, and has been ready to and did not. */
function times(file) {
  const buffer = Buffer.alloc(64);
  const size = readSync(file, buffer, 0, buffer.length, 0);
  const [worked, waited] = buffer.latin1Slice(0, size).split(' ');
  return { at: performance.now(), worked: Number(worked) / 1e6, waited: Number(waited) / 1e6 };
}

function watch(folder) {
  const schedstat = openSync('/proc/self/schedstat', 'r');
  process.on('exit', () => closeSync(schedstat));
  let last = times(schedstat);
  setInterval(() => {
    const now = times(schedstat);
    const stall = now.at - last.at - TICK;
    const parts = [stall, now.worked - last.worked, now.waited - last.waited].map(Math.round);
    const line = JSON.stringify([Date.now(), ...parts]);
    if (stall > LEAST) appendFileSync(join(folder, String(process.pid)), `${line}\n`);
    last = now;
  }, TICK).unref();
}

// Not in commands that inherit the environment.
if (process.env.STALLS !== undefined && process.argv.includes('serve')) watch(process.env.STALLS);
