/** All generator threads, from the thread that commands them. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { FromThread, RunPlan, ThreadPlan, ToThread } from './plan';
import { merge, type Tally } from './tally';

export class Fleet {
  private readonly workers: Worker[];

  constructor(plans: readonly ThreadPlan[]) {
    this.workers = plans.map((workerData) => new Worker(join(__dirname, 'thread.js'), { workerData }));
  }

  /** Signs frames for so many logins of every terminal. */
  async fill(rounds: number): Promise<void> {
    await Promise.all(this.workers.map((worker) => ask(worker, { kind: 'fill', rounds })));
  }

  /** @param plan of the n-th thread */
  async run(plan: (thread: number) => RunPlan): Promise<Tally> {
    const answers = this.workers.map((worker, i) => ask(worker, { kind: 'run', run: plan(i) }));
    const done = await Promise.all(answers);
    return merge(done.flatMap((answer) => (answer.kind === 'done' ? [answer.tally] : [])));
  }

  /** Ends a run of heartbeats, which then comes to its tally. */
  stop(): void {
    for (const worker of this.workers) worker.postMessage({ kind: 'stop' } satisfies ToThread);
  }

  async terminate(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

/** Rejects where the thread fails or is terminated before it has answered. */
function ask(worker: Worker, message: ToThread): Promise<FromThread> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => settle(() => reject(new Error('a generator thread ended')));
    const onError = (error: Error): void => settle(() => reject(error));
    const onMessage = (answer: FromThread): void => settle(() => resolve(answer));
    const settle = (act: () => void): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      act();
    };
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    worker.postMessage(message);
  });
}
