import { Strangers } from '../../../src/platform/store/strangers';

const NOW = 1_800_000_000_000;

test('remembered for half a minute', () => {
  const strangers = new Strangers();
  strangers.add('T1', strangers.mark(), NOW);
  expect(strangers.has('T1', NOW + 29_999)).toBe(true);
  expect(strangers.has('T1', NOW + 30_000)).toBe(false);
  expect(strangers.has('T2', NOW)).toBe(false);
});

test('one that is provisioned is forgotten, the others are not', () => {
  const strangers = new Strangers();
  for (const serial of ['T1', 'T2']) strangers.add(serial, strangers.mark(), NOW);
  strangers.forget(['T1']);
  expect(['T1', 'T2'].map((serial) => strangers.has(serial, NOW))).toEqual([false, true]);
});

test('what was asked before a change was told is not remembered', () => {
  const strangers = new Strangers();
  const mark = strangers.mark();
  strangers.forget(['T1']);
  strangers.add('T1', mark, NOW);
  expect(strangers.has('T1', NOW)).toBe(false);
  const later = strangers.mark();
  strangers.clear();
  strangers.add('T1', later, NOW);
  expect(strangers.has('T1', NOW)).toBe(false);
});

test('a million serials take no more memory than the latest hundred thousand', () => {
  const strangers = new Strangers();
  for (let i = 0; i < 1_000_000; i++) strangers.add(`T${i}`, strangers.mark(), NOW);
  expect(strangers.size).toBeLessThanOrEqual(100_000);
  expect(strangers.has('T950000', NOW)).toBe(true);
  expect(strangers.has('T999999', NOW)).toBe(true);
});
