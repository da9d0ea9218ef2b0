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

const away = () => Promise.reject(new DatabaseAway('away', false));

describe('what became of a text', () => {
  test.each([
    ['delivered', { kind: 'delivered' }, ['delivered', 1]],
    ['accepted', { kind: 'accepted', messageId: 'm' }, ['accepted', 1, 'm']],
  ] as const)('%s outlasts a lost database', async (name, handed, note) => {
    const { due, sending, notes, errors, log, outbox, worker, pass } = bench();
    const write = jest.spyOn(outbox, name).mockImplementationOnce(away).mockImplementationOnce(away);
    due.push(text(1));
    worker.look();
    await pass();
    sending[0]!.finish(handed);
    await pass(600_000);
    expect(write).toHaveBeenCalledTimes(3);
    expect([notes, errors, log.length]).toEqual([[note], [], 1]);
  });

  test('is not waited for when the gateway stops', async () => {
    const { due, sending, errors, outbox, worker, pass } = bench();
    jest.spyOn(outbox, 'delivered').mockImplementation(away);
    due.push(text(1));
    worker.look();
    await pass();
    sending[0]!.finish({ kind: 'delivered' });
    await pass(5_000);
    const stopped = worker.stop();
    await pass(5_000);
    await stopped;
    expect(errors).toHaveLength(1);
  });
});

describe('a peer that has too much to do', () => {
  test('gets no texts while it wants none, and then the same ones soon', async () => {
    const { due, sending, notes, worker, pass } = bench();
    for (let id = 1; id <= 40; id++) due.push(text(id, 9));
    worker.look();
    await pass();
    for (const { finish } of [...sending]) finish({ kind: 'failed', why: 'full', pause: 30 });
    await pass(29_000);
    expect(sending).toHaveLength(20);
    expect(notes).toContainEqual(['failed', 1, 'full', 30]);
    await pass(2_000);
    expect(sending).toHaveLength(40);
  });

  test('may not ask for more than a quarter of an hour', async () => {
    const { due, sending, notes, worker, pass } = bench();
    due.push(text(1));
    worker.look();
    await pass();
    sending[0]!.finish({ kind: 'failed', why: 'full', pause: 1e9 });
    await pass(899_000);
    due.push(text(2));
    await pass();
    expect(sending).toHaveLength(1);
    await pass(2_000);
    expect(sending).toHaveLength(2);
    expect(notes).toEqual([['failed', 1, 'full', 900]]);
  });
});

describe('receipts', () => {
  const receipt: Receipt = { messageId: 'm', phones: [], delivered: false, state: 'UNDELIV' };
  const found = (serial: string) => ({ text: { id: 1, serial }, undecided: false, cameAt: 7 });
  const undecided = { text: undefined, undecided: true, cameAt: 7 };
  const hang = () => new Promise<never>(() => undefined);

  test('one that comes before its row is looked for again, and dealt with', async () => {
    const { outbox, log, counted, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockResolvedValueOnce(undecided);
    look.mockResolvedValueOnce(found('T-1'));
    const done = worker.receipt(receipt);
    await pass(1_000);
    expect(await done).toBe(true);
    expect(look.mock.calls).toEqual([
      [receipt, undefined],
      [receipt, 7],
    ]);
    expect(log).toMatchObject([{ serial: 'T-1', outcome: 'failure', detail: 'not delivered: UNDELIV' }]);
    expect(counted).toEqual(['failed']);
  });

  test('one that comes while the database is away is looked for again', async () => {
    const { outbox, errors, counted, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockImplementationOnce(away);
    look.mockResolvedValueOnce(found('T-1'));
    const done = worker.receipt(receipt);
    await pass(1_000);
    expect(await done).toBe(true);
    expect([counted, errors]).toEqual([['failed'], []]);
  });

  test('one of somebody else is dealt with at once', async () => {
    const { log, worker } = bench();
    expect(await worker.receipt(receipt)).toBe(true);
    expect(log).toEqual([]);
  });

  test.each([
    ['while the database is away', away],
    ['while it hangs', hang],
    ['while no answer to its text is written down', () => Promise.resolve(undecided)],
  ])('%s: not dealt with after eight seconds', async (_name, answer) => {
    const { outbox, log, errors, worker, pass } = bench();
    jest.spyOn(outbox, 'receipt').mockImplementation(answer);
    let done: boolean | undefined;
    void worker.receipt(receipt).then((is) => (done = is));
    await pass(6_000);
    expect(done).toBeUndefined();
    await pass(2_000);
    expect([done, log, errors]).toEqual([false, [], []]);
  });

  test('an error is told, and the receipt is not dealt with', async () => {
    const { outbox, errors, worker } = bench();
    jest.spyOn(outbox, 'receipt').mockRejectedValue(new Error('wrong'));
    expect(await worker.receipt(receipt)).toBe(false);
    expect(errors).toHaveLength(1);
  });

  test('of a flood while the database hangs fifty are held, and the rest refused at once', async () => {
    const { outbox, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockImplementation(hang);
    const held = Array.from({ length: 50 }, () => worker.receipt(receipt));
    for (let i = 0; i < 1_000; i++) expect(await worker.receipt(receipt)).toBe(false);
    await pass(10_000);
    expect(await Promise.all(held)).toEqual(held.map(() => false));
    // Their statements hang still.
    expect(await worker.receipt(receipt)).toBe(false);
    expect(look).toHaveBeenCalledTimes(50);
  });

  test('what is refused makes room again', async () => {
    const { outbox, worker, pass } = bench();
    const look = jest.spyOn(outbox, 'receipt').mockImplementation(away);
    const held = Array.from({ length: 50 }, () => worker.receipt(receipt));
    await pass(10_000);
    await Promise.all(held);
    look.mockResolvedValue(found('T-1'));
    expect(await worker.receipt(receipt)).toBe(true);
  });

  test('when the gateway stops, what is not dealt with by then is refused before the link is closed', async () => {
    const { outbox, state, worker, pass } = bench();
    jest.spyOn(outbox, 'receipt').mockResolvedValue(undecided);
    let closedBefore: number | undefined;
    const done = worker.receipt(receipt).finally(() => (closedBefore = state.closed));
    await pass();
    const stopped = worker.stop();
    expect(await worker.receipt(receipt)).toBe(false);
    await pass(2_000);
    await stopped;
    expect([await done, closedBefore, state.closed]).toEqual([false, 0, 1]);
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

  test('a statement that hangs does not hold the link', async () => {
    const { outbox, state, worker, pass } = bench();
    let found: (texts: never[]) => void = () => undefined;
    jest.spyOn(outbox, 'take').mockReturnValue(new Promise((resolve) => (found = resolve)));
    worker.look();
    await pass();
    const stopped = worker.stop();
    await pass(2_000);
    expect(state.closed).toBe(1);
    found([]);
    await stopped;
  });

  test('is immediate where nothing is under way', async () => {
    const { worker, state } = bench();
    await worker.stop();
    expect(state.closed).toBe(1);
  });
});
