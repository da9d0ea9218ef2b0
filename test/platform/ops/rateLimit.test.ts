import { RateLimit } from '../../../src/platform/ops/rateLimit';

test('a burst, then so many a second, each key for itself', () => {
  const limit = new RateLimit(2, 3);
  expect([1, 2, 3, 4].map(() => limit.take('a', 0))).toEqual([true, true, true, false]);
  expect(limit.has('a', 499)).toBe(false);
  expect(limit.has('a', 500)).toBe(true);
  expect([limit.take('a', 500), limit.take('a', 500), limit.take('b', 500)]).toEqual([true, false, true]);
  expect([1, 2, 3, 4].map(() => limit.take('a', 60_000))).toEqual([true, true, true, false]);
});

test('a clock that goes back gives nothing away and takes nothing', () => {
  const limit = new RateLimit(1, 1);
  expect([limit.take('a', 10_000), limit.take('a', 0), limit.take('a', 999), limit.take('a', 1_000)]).toEqual(
    [true, false, false, true],
  );
});

test('keys are kept in bounded memory: who was there least lately is forgotten', () => {
  const limit = new RateLimit(1, 1);
  const [first, second] = [limit.take('a', 0), limit.take('b', 0)];
  expect([first, second]).toEqual([true, true]);
  for (let n = 0; n < 9_998; n++) limit.take(`k${n}`, 0);
  expect(limit.take('a', 0)).toBe(false);
  limit.take('one more', 0);
  expect([limit.has('a', 0), limit.has('b', 0)]).toEqual([false, true]);
});
