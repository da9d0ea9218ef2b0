/** A generator thread: signs what it is told to, runs what it is told to, and hands its tally back. */
import { parentPort, workerData } from 'node:worker_threads';
import { Beats } from './beats';
import { clock } from './clock';
import { ClosedLoop, OpenLoop, type Driving } from './drivers';
import { Logins } from './logins';
import type { FromThread, RunPlan, ThreadPlan, ToThread } from './plan';
import { Storm } from './storm';
import { newTally, pack } from './tally';

const SWEEP_EVERY = 250;

function serve(): void {
  const logins = new Logins(workerData as ThreadPlan);
  let driving: Driving | undefined;
  const over = (): void => {
    logins.tally.signedLate = logins.stock.signedLate;
    logins.stock.signedLate = 0;
    tell({ kind: 'done', tally: pack(logins.tally) });
  };
  parentPort?.on('message', (message: ToThread) => {
    if (message.kind === 'stop') {
      if (driving instanceof Beats) driving.stop();
    } else if (message.kind === 'fill') {
      logins.stock.fill(message.rounds);
      tell({ kind: 'filled' });
    } else {
      logins.tally = newTally();
      driving = drivingFor(logins, message.run, over);
      logins.driver = driving;
      startAt(driving, message.run.startAt);
    }
  });
  setInterval(() => logins.sweep(), SWEEP_EVERY).unref();
}

/** Not before: a timer of Node.js may fire a fraction early, and what begins before the measurement is not counted. */
function startAt(driving: Driving, time: number): void {
  const wait = time - clock();
  if (wait > 0) setTimeout(() => startAt(driving, time), wait);
  else driving.start();
}

function drivingFor(logins: Logins, run: RunPlan, over: () => void): Driving {
  if (run.kind === 'closed') return new ClosedLoop(logins, run, over);
  if (run.kind === 'open') return new OpenLoop(logins, run, over);
  if (run.kind === 'storm') return new Storm(logins, run, over);
  return new Beats(logins, run, over);
}

function tell(message: FromThread): void {
  parentPort?.postMessage(message);
}

serve();
