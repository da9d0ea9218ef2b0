/** Which failures are told to the others, in which order, and what is forgotten. */
import { FailureCounts } from '../../../src/platform/flows/failureCounts';

const NOW = 1_800_000_000_000;

function counting(capacity = 100) {
  const counts = new FailureCounts(capacity, 1000);
  const fail = (serial: string, times = 1, now = NOW) => {
    for (let i = 0; i < times; i++) {
      const count = counts.touch(serial, { serial, source: 'a' }, now);
      count.failures++;
      count.unwritten++;
      counts.changed(serial, count);
    }
  };
  const taken = (most: number, singles = most) =>
    counts.take(most, singles).map(({ serial, failures }) => `${serial} ${failures}`);
  return { counts, fail, taken };
}

test('a count stands until it expires, and then begins anew', () => {
  const { counts, fail } = counting();
  fail('A', 3);
  expect(counts.get('A', NOW + 999)).toMatchObject({ of: { serial: 'A', source: 'a' }, failures: 3 });
  expect(counts.get('A', NOW + 1000)).toBeUndefined();
  fail('A', 1, NOW + 1000);
  expect(counts.get('A', NOW + 1000)).toMatchObject({ failures: 1, closedUntil: 0 });
});

test('repeated ones are told first, then single ones, in the order in which they came', () => {
  const { fail, taken } = counting();
  for (const [serial, times] of [['A', 1], ['B', 2], ['C', 1], ['D', 5]] as const) fail(serial, times); // prettier-ignore
  expect(taken(10)).toEqual(['B 2', 'D 5', 'A 1', 'C 1']);
  expect(taken(10)).toEqual([]);
});

test('no more than asked for; repeated ones wait, single ones wait for a second failure', () => {
  const { fail, taken } = counting();
  for (const serial of ['A', 'B', 'C']) fail(serial);
  for (const serial of ['D', 'E', 'F']) fail(serial, 2);
  expect(taken(2)).toEqual(['D 2', 'E 2']);
  expect(taken(10)).toEqual(['F 2']);
  fail('B');
  expect(taken(10)).toEqual(['B 2']);
});

test('single ones take what room is left, and no more than their own', () => {
  const { fail, taken } = counting();
  for (const serial of ['A', 'B', 'C']) fail(serial);
  fail('D', 2);
  expect(taken(3)).toEqual(['D 2', 'A 1', 'B 1']);
  for (const serial of ['E', 'F', 'G']) fail(serial);
  expect(taken(10, 1)).toEqual(['E 1']);
});

test('one that fails again before it was told is told once', () => {
  const { fail, taken } = counting();
  fail('A');
  fail('A');
  expect(taken(10)).toEqual(['A 2']);
  fail('A');
  expect(taken(10)).toEqual(['A 1']);
});

test('what could not be written is told with what has come since; what is gone is not', () => {
  const { counts, fail, taken } = counting();
  fail('A');
  fail('B', 2);
  taken(10);
  counts.putBack('A', 1);
  counts.putBack('C', 1);
  expect(taken(10)).toEqual(['A 1']);
  counts.putBack('B', 2);
  fail('B');
  expect(taken(10)).toEqual(['B 3']);
});

test('what waits to be told again, and begins anew meanwhile, is told once', () => {
  const { counts, fail, taken } = counting();
  fail('A');
  taken(10);
  counts.putBack('A', 1);
  fail('A', 1, NOW + 1000);
  expect(taken(10)).toEqual(['A 1']);
});

test('what was deleted is told no more', () => {
  const { counts, fail, taken } = counting();
  for (const serial of ['A', 'B', 'C', 'D']) fail(serial, serial === 'A' ? 2 : 1);
  expect(counts.delete('A')).toMatchObject({ failures: 2 });
  expect(counts.delete('A')).toBeUndefined();
  counts.deleteWhere(({ serial }) => serial === 'C');
  expect([counts.size, taken(10)]).toEqual([2, ['B 1', 'D 1']]);
});

test('of more than there is room for, those that were not touched for longest are forgotten', () => {
  const { counts, fail, taken } = counting(10);
  for (let i = 0; i < 100; i++) fail(`T${i}`, 2);
  expect(counts.size).toBeLessThanOrEqual(10);
  expect(counts.get('T99', NOW)).toBeDefined();
  expect(counts.get('T80', NOW)).toBeUndefined();
  const told = taken(1000);
  expect(told.at(-1)).toBe('T99 2');
  expect(told).toHaveLength(counts.size);
});

test.each([1, 2])(
  'while nobody takes them, keys of what is forgotten are so, too (%d failures each)',
  (times) => {
    const { counts, fail } = counting(10);
    for (let i = 0; i < 1000; i++) {
      fail(`T${i}`, times);
      expect(counts.untold).toBeLessThanOrEqual(10);
    }
    expect(counts.untold).toBe(counts.size);
  },
);
