/** Workers that no process comes of, as the machine has no room for one just then, and ones that speak from beyond. */
import cluster from 'node:cluster';
import { EventEmitter } from 'node:events';
import { Counter, Registry } from 'prom-client';
import type { LogAction, LogFacts } from '../../../src/platform/ops/log';
import type { Site } from '../../../src/platform/site';
import { Crew } from '../../../src/platform/workers/crew';

class FakeWorker extends EventEmitter {
  readonly process: { pid: number | undefined; kill: jest.Mock };
  constructor(
    readonly id: number,
    pid: number | undefined,
  ) {
    super();
    this.process = { pid, kill: jest.fn() };
  }
  isConnected = () => true;
  send = () => true;
}

const OPEN = { listen: '127.0.0.1:1', tlsListen: undefined };
const actions: LogAction[] = [];
const messages: string[] = [];
const lost = { inc: jest.fn() };
let forked: FakeWorker[];
let pids: (number | undefined)[];

const bury = jest.fn();

function crewOf(workers: number): Crew {
  const site = {
    settings: { workers, drain: 0, databaseTimeout: 1 },
    metrics: { registry: new Registry(), workersLost: lost },
    store: { bury },
    log: {
      event: (action: LogAction, facts: LogFacts) => {
        actions.push(action);
        messages.push(facts.message);
      },
    },
  } as unknown as Site;
  return new Crew({ site, databaseUrl: '', relay: () => undefined, texted: () => undefined });
}

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick'] });
  actions.length = 0;
  messages.length = 0;
  forked = [];
  jest.spyOn(cluster, 'setupPrimary').mockReturnValue();
  jest.spyOn(cluster, 'fork').mockImplementation(() => {
    const worker = new FakeWorker(forked.length + 1, pids.shift());
    forked.push(worker);
    if (worker.process.pid === undefined)
      process.nextTick(() =>
        worker.emit('error', Object.assign(new Error('spawn EMFILE'), { code: 'EMFILE' })),
      );
    else process.nextTick(() => worker.emit('message', { kind: 'ready', open: OPEN, room: 10, instance: 1 }));
    return worker as never;
  });
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

test('one that cannot be spawned in the place of a lost one is tried again, after a pause', async () => {
  pids = [11, undefined, undefined, 12];
  const crew = crewOf(1);
  await crew.open();
  expect(crew.size).toBe(1);
  forked[0]!.emit('exit', null, 'SIGKILL');
  await jest.advanceTimersByTimeAsync(1_000);
  expect([forked.length, crew.size]).toEqual([2, 0]);
  await jest.advanceTimersByTimeAsync(999);
  expect(forked).toHaveLength(2);
  await jest.advanceTimersByTimeAsync(1_001);
  expect([forked.length, crew.size]).toEqual([4, 1]);
  expect(actions).toEqual(['worker-lost', 'worker-lost', 'worker-lost', 'worker-started']);
  crew.close();
});

test('one that cannot be spawned at the start is why the gateway does not start', async () => {
  pids = [11, undefined];
  const crew = crewOf(2);
  await expect(crew.open()).rejects.toThrow('spawn EMFILE');
  crew.close();
});

test('what a worker counted is counted once, though its last word is heard after its end', async () => {
  pids = [11];
  const crew = crewOf(1);
  await crew.open();
  const counters = new Registry();
  new Counter({ name: 'm2m_test_total', help: 'a test', registers: [counters] }).inc(5);
  const metrics = await counters.getMetricsAsJSON();
  forked[0]!.emit('message', { kind: 'metrics', metrics });
  forked[0]!.emit('exit', null, 'SIGKILL');
  forked[0]!.emit('message', { kind: 'metrics', metrics });
  expect(await crew.exposition()).toMatch(/^m2m_test_total 5$/m);
  crew.close();
});

test('one that was given another number in the database is buried by that', async () => {
  pids = [11];
  const crew = crewOf(1);
  await crew.open();
  forked[0]!.emit('message', { kind: 'renumbered', instance: 7 });
  forked[0]!.emit('exit', null, 'SIGKILL');
  expect(bury.mock.calls.at(-1)).toEqual([7]);
  crew.close();
});

test('one that is not heard of for a minute is killed, and why is told; one that is heard of is not', async () => {
  pids = [11, 12, 13];
  const crew = crewOf(2);
  await crew.open();
  const [hung, well] = forked as [FakeWorker, FakeWorker];
  const kills = () => [hung, well].map((worker) => worker.process.kill.mock.calls.length);
  for (let second = 0; second < 59; second++) {
    await jest.advanceTimersByTimeAsync(1_000);
    well.emit('message', { kind: 'count', connections: 0, newcomers: [] });
  }
  expect(kills()).toEqual([0, 0]);
  await jest.advanceTimersByTimeAsync(10_000);
  expect([kills(), hung.process.kill.mock.calls]).toEqual([[1, 0], [['SIGKILL']]]);
  hung.emit('exit', null, 'SIGKILL');
  expect(messages[0]).toMatch(/^worker 11 ended \(killed: it had not been heard of for 60 s\) with 0/);
  crew.close();
});

test('one that does not end when it is to is killed in the end, and told of', async () => {
  pids = [11];
  const crew = crewOf(1);
  await crew.open();
  const [hung] = forked as [FakeWorker];
  hung.emit('message', { kind: 'count', connections: 7, newcomers: [] });
  const drained = crew.drain();
  await jest.advanceTimersByTimeAsync(10_999);
  expect(hung.process.kill).not.toHaveBeenCalled();
  await jest.advanceTimersByTimeAsync(1);
  expect([hung.process.kill.mock.calls, messages]).toEqual([
    [['SIGKILL']],
    ['worker 11 does not end, and is killed with 7 connections'],
  ]);
  hung.emit('exit', null, 'SIGKILL');
  await drained;
});
