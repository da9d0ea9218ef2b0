import type { Receipt } from '../../../src/platform/sms/transport';
import { DatabaseAway } from '../../../src/platform/store/database';
import { bench, text } from './workerBench';

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('delivered, accepted and failed are written down, counted and told', async () => {
  const { due, sending, notes, log, counted, worker, pass } = bench();
  due.push(text(1), text(2), text(3));
  worker.look();
  await pass();
  sending[0]!.finish({ kind: 'delivered' });
  sending[1]!.finish({ kind: 'accepted', messageId: 'm' });
  sending[2]!.finish({ kind: 'failed', why: 'HTTP status 500' });
  await pass();
  expect(notes).toEqual([
    ['delivered', 1],
    ['accepted', 2, 'm'],
    ['failed', 3, 'HTTP status 500', 2.5],
  ]);
  expect(counted).toEqual(['delivered', 'accepted', 'failed']);
  expect(log.map(({ outcome, serial }) => [outcome, serial])).toEqual([
    ['success', 'T-1'],
    ['success', 'T-2'],
    ['failure', 'T-3'],
  ]);
  expect(JSON.stringify(log)).not.toMatch(/M2M2|4179/);
});

test.each([
  [1, 0, 2.5],
  [1, 1, 5],
  [2, 1, 10],
  [5, 0.5, 60],
  [9, 1, 900],
  [1_000_000, 0, 450],
])('after try %d with random %d it waits %d s', async (attempts, random, wait) => {
  const { due, sending, notes, state, worker, pass } = bench();
  state.random = random;
  due.push(text(1, attempts));
  worker.look();
  await pass();
  sending[0]!.finish({ kind: 'failed', why: 'away' });
  await pass();
  expect(notes).toEqual([['failed', 1, 'away', wait]]);
});

test('at most twenty at once; a slow one keeps its place only', async () => {
  const { due, sending, worker, pass } = bench();
  for (let id = 1; id <= 50; id++) due.push(text(id));
  worker.look();
  await pass();
  expect(sending).toHaveLength(20);
  for (const { id, finish } of [...sending]) if (id !== 1) finish({ kind: 'delivered' });
  await pass();
  expect(sending).toHaveLength(39);
  for (const { id, finish } of [...sending]) if (id !== 1) finish({ kind: 'delivered' });
  await pass();
  expect(sending).toHaveLength(50);
});

test('looks every second by itself, and not while nobody is there to take a text', async () => {
  const { due, sending, transport, state, pass } = bench();
  transport.ready = false;
  due.push(text(1));
  await pass(5_000);
  expect(due).toHaveLength(1);
  transport.ready = true;
  state.available = false;
  await pass(5_000);
  expect(due).toHaveLength(1);
  state.available = true;
  await pass(1_000);
  expect(sending).toHaveLength(1);
});

test('a look during a look is made up for', async () => {
  const { due, sending, worker, pass } = bench();
  worker.look();
  due.push(text(1));
  worker.look();
  await pass();
  expect(sending).toHaveLength(1);
});

test('without a transport it opens what operators asked for, and takes nothing', async () => {
  const { due, notes, pass } = bench({ asTransport: false });
  due.push(text(1));
  await pass(2_000);
  expect(notes).toEqual([['opened'], ['opened']]);
  expect(due).toHaveLength(1);
});

test('tidies every ten seconds or so, and tells what is given up', async () => {
  const { outbox, log, counted, pass } = bench({ giveUpAfter: 60 });
  const tidy = jest
    .spyOn(outbox, 'tidy')
    .mockResolvedValueOnce([{ id: 4, serial: 'T-4', why: 'given up: away' }]);
  await pass(1_000);
  expect(tidy).toHaveBeenCalledWith(60);
  expect(counted).toEqual(['given-up']);
  expect(log).toMatchObject([{ serial: 'T-4', outcome: 'failure', detail: 'given up: away' }]);
  await pass(9_000);
  expect(tidy).toHaveBeenCalledTimes(1);
  await pass(2_000);
  expect(tidy).toHaveBeenCalledTimes(2);
});

test('errors of the database are told and end nothing', async () => {
  const { outbox, due, sending, notes, errors, worker, pass } = bench();
  outbox.delivered = () => Promise.reject(new Error('gone'));
  jest.spyOn(outbox, 'take').mockRejectedValueOnce(new Error('away'));
  due.push(text(1), text(2));
  await pass(2_000);
  sending[0]!.finish({ kind: 'delivered' });
  sending[1]!.finish({ kind: 'accepted', messageId: 'm' });
  await pass();
  expect(errors.map(String)).toEqual(['Error: away', 'Error: gone']);
  expect(notes).toEqual([['accepted', 2, 'm']]);
  await worker.stop();
});

describe('receipts', () => {
  const receipt: Receipt = { messageId: 'm', delivered: false, state: 'UNDELIV' };

  test('one that comes before its row is looked for again', async () => {
    const { outbox, log, counted, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockResolvedValueOnce(undefined);
    look.mockResolvedValueOnce({ id: 1, serial: 'T-1' });
    const done = worker.receipt(receipt);
    await pass(1_000);
    await done;
    expect(log).toMatchObject([{ serial: 'T-1', outcome: 'failure', detail: 'not delivered: UNDELIV' }]);
    expect(counted).toEqual(['failed']);
  });

  test('one that comes while the database is away is looked for again', async () => {
    const { outbox, errors, counted, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockRejectedValueOnce(new DatabaseAway('away', false));
    look.mockResolvedValueOnce({ id: 1, serial: 'T-1' });
    const done = worker.receipt(receipt);
    await pass(1_000);
    await done;
    expect([counted, errors]).toEqual([['failed'], []]);
  });

  test('one of somebody else is let go, and so is an error', async () => {
    const { outbox, log, errors, worker, pass } = bench();
    const done = worker.receipt(receipt);
    await pass(60_000);
    await done;
    outbox.receipt = () => Promise.reject(new Error('away'));
    await worker.receipt(receipt);
    expect(log).toEqual([]);
    expect(errors).toHaveLength(1);
  });
});

describe('stopping', () => {
  test('waits a little for what is under way, then cuts it off; nothing new is begun', async () => {
    const { due, sending, notes, state, worker, pass } = bench();
    for (let id = 1; id <= 30; id++) due.push(text(id));
    worker.look();
    await pass();
    const stopped = worker.stop();
    sending[0]!.finish({ kind: 'delivered' });
    await pass(1_000);
    expect(state.closed).toBe(0);
    await pass(10_000);
    await stopped;
    expect(sending).toHaveLength(20);
    expect(notes.filter((note) => (note as string[])[0] === 'failed')).toHaveLength(19);
  });

  test('is immediate where nothing is under way', async () => {
    const { worker, state } = bench();
    await worker.stop();
    expect(state.closed).toBe(1);
  });
});
