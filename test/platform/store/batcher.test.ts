import { Batcher } from '../../../src/platform/store/batcher';
import { eventually } from '../../support/eventually';

interface Item {
  readonly key: number;
  readonly value: number;
}

/** A batcher whose batches are answered when the test says so. */
function controlled(
  options: { maxItems?: number; maxUnderWay?: number; enough?: number; window?: number } = {},
) {
  const batches: { items: readonly Item[]; finish: () => void; fail: (error: Error) => void }[] = [];
  const batcher = new Batcher<Item, number>({
    run: (items) =>
      new Promise((resolve, reject) => {
        batches.push({ items, finish: () => resolve(items.map(({ value }) => value * 10)), fail: reject });
      }),
    keyOf: ({ key }) => key,
    maxItems: options.maxItems ?? 100,
    maxUnderWay: options.maxUnderWay ?? 1,
    enough: options.enough ?? 1,
    window: options.window ?? 5,
  });
  return { batcher, batches };
}

const item = (key: number, value = key): Item => ({ key, value });
const passes = (condition: () => boolean) => eventually('a batch', condition);

test('a lone item on an idle batcher does not wait for the window', async () => {
  const { batcher, batches } = controlled({ window: 60_000 });
  const outcome = batcher.submit(item(1));
  await passes(() => batches.length === 1);
  batches[0]!.finish();
  expect(await outcome).toBe(10);
});

test('what gathers while a batch is under way leaves as one, and each gets its own outcome', async () => {
  const { batcher, batches } = controlled();
  const first = batcher.submit(item(0));
  await passes(() => batches.length === 1);
  const rest = [1, 2, 3].map((key) => batcher.submit(item(key)));
  expect(batcher.depth).toBe(3);
  batches[0]!.finish();
  await passes(() => batches.length === 2);
  expect(batches[1]!.items.map(({ key }) => key)).toEqual([1, 2, 3]);
  batches[1]!.finish();
  expect(await Promise.all([first, ...rest])).toEqual([0, 10, 20, 30]);
});

test('beside a batch under way a few wait for its return, and enough of them do not', async () => {
  const { batcher, batches } = controlled({ maxUnderWay: 2, enough: 3, window: 0 });
  const first = batcher.submit(item(0));
  await passes(() => batches.length === 1);
  const few = [1, 2].map((key) => batcher.submit(item(key)));
  // Many times the window.
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(batches).toHaveLength(1);
  const third = batcher.submit(item(3));
  await passes(() => batches.length === 2);
  expect(batches[1]!.items.map(({ key }) => key)).toEqual([1, 2, 3]);
  const last = batcher.submit(item(4));
  batches[0]!.finish();
  batches[1]!.finish();
  await passes(() => batches.length === 3);
  batches[2]!.finish();
  expect(await Promise.all([first, ...few, third, last])).toEqual([0, 10, 20, 30, 40]);
});

test('the same key never stands twice in a batch; the later one goes into a later batch, in order', async () => {
  const { batcher, batches } = controlled();
  const outcomes = [item(1, 1), item(2, 2), item(1, 3), item(1, 4)].map((one) => batcher.submit(one));
  for (let n = 0; n < 3; n++) {
    await passes(() => batches.length === n + 1);
    batches[n]!.finish();
  }
  expect(await Promise.all(outcomes)).toEqual([10, 20, 30, 40]);
  expect(batches.map(({ items }) => items.map(({ value }) => value))).toEqual([[1, 2], [3], [4]]);
});

test('a key that is under way is not sent again before its outcome is known, however much room there is', async () => {
  const { batcher, batches } = controlled({ maxUnderWay: 2 });
  const outcomes = [batcher.submit(item(1, 1))];
  await passes(() => batches.length === 1);
  outcomes.push(batcher.submit(item(1, 2)), batcher.submit(item(2, 3)));
  await passes(() => batches.length === 2);
  expect(batches[1]!.items).toEqual([item(2, 3)]);
  batches[1]!.finish();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(batches).toHaveLength(2);
  batches[0]!.finish();
  await passes(() => batches.length === 3);
  batches[2]!.finish();
  expect(await Promise.all(outcomes)).toEqual([10, 20, 30]);
});

test('never more items in a batch, nor batches under way, than allowed', async () => {
  const { batcher, batches } = controlled({ maxItems: 10, maxUnderWay: 2 });
  const outcomes = Array.from({ length: 35 }, (_, key) => batcher.submit(item(key)));
  await passes(() => batches.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(batches).toHaveLength(2);
  for (let n = 0; n < 4; n++) {
    await passes(() => batches.length > n);
    expect(batches[n]!.items.length).toBeLessThanOrEqual(10);
    batches[n]!.finish();
  }
  expect(await Promise.all(outcomes)).toHaveLength(35);
});

test('a failed batch fails its own items only', async () => {
  const { batcher, batches } = controlled();
  const doomed = batcher.submit(item(1));
  await passes(() => batches.length === 1);
  const fine = batcher.submit(item(2));
  batches[0]!.fail(new Error('gone'));
  await expect(doomed).rejects.toThrow('gone');
  await passes(() => batches.length === 2);
  batches[1]!.finish();
  expect(await fine).toBe(20);
  await batcher.settled();
});
