// Loaded into each process of a gateway (--require): for how long its event loop stood still, and how much of that the
// process waited for a processor that somebody else had. Linux tells the second (schedstats, of the main thread); what is
// left is the gateway's own doing. Writes them to STALLS, a folder, as lines of [milliseconds since the epoch, stall, waited].
const { appendFileSync, closeSync, openSync, readSync } = require('node:fs');
const { join } = require('node:path');

const TICK = 10;
/** Milliseconds. Shorter ones are of no interest. */
const LEAST = 20;

/** Milliseconds that the main thread has been ready to run and did not. */
function waited(file) {
  const buffer = Buffer.alloc(64);
  const size = readSync(file, buffer, 0, buffer.length, 0);
  return Number(buffer.latin1Slice(0, size).split(' ')[1]) / 1e6;
}

function watch(folder) {
  const schedstat = openSync('/proc/self/schedstat', 'r');
  process.on('exit', () => closeSync(schedstat));
  let [last, before] = [performance.now(), waited(schedstat)];
  setInterval(() => {
    const [now, after] = [performance.now(), waited(schedstat)];
    const stall = now - last - TICK;
    const line = [Date.now(), Math.round(stall), Math.round(after - before)];
    if (stall > LEAST) appendFileSync(join(folder, String(process.pid)), `${JSON.stringify(line)}\n`);
    [last, before] = [now, after];
  }, TICK).unref();
}

// Not in commands that inherit the environment.
if (process.env.STALLS !== undefined && process.argv.includes('serve')) watch(process.env.STALLS);
