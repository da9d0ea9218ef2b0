import type { TerminalRecord } from '../../../src/platform/model';
import { RecordCache } from '../../../src/platform/store/recordCache';

const record = (serial: string) => ({ serial }) as TerminalRecord;

test('finds what was put in until it is deleted or everything is cleared', () => {
  const cache = new RecordCache(100);
  cache.set(record('A'));
  cache.set(record('B'));
  expect(cache.get('A')).toEqual({ serial: 'A' });
  cache.delete('A');
  expect(cache.get('A')).toBeUndefined();
  cache.clear();
  expect(cache.get('B')).toBeUndefined();
});

test('stays within its capacity, and keeps what is asked for', () => {
  const cache = new RecordCache(100);
  for (let n = 0; n < 1000; n++) {
    cache.set(record(`T${n}`));
    expect(cache.get('T0')).toBeDefined();
  }
  const held = Array.from({ length: 1000 }, (_, n) => cache.get(`T${n}`)).filter((one) => one !== undefined);
  expect(held.length).toBeLessThanOrEqual(100);
  expect(cache.get('T999')).toBeDefined();
});

test('a record deleted is gone from both generations', () => {
  const cache = new RecordCache(4);
  for (const serial of ['A', 'B', 'C']) cache.set(record(serial));
  cache.delete('A');
  expect(cache.get('A')).toBeUndefined();
});
