import fc from 'fast-check';
import { Recent } from '../../src/platform/recent';

test('holds what was set last, at least half of its capacity, and never more than all of it', () => {
  const key = fc.integer({ min: 0, max: 40 }).map(String);
  const act = fc.constantFrom('set', 'set', 'set', 'delete');
  fc.assert(
    fc.property(fc.array(fc.tuple(act, key), { maxLength: 300 }), (steps) => {
      const recent = new Recent<number>(20);
      let latest: string[] = [];
      steps.forEach(([what, name], at) => {
        latest = latest.filter((each) => each !== name);
        if (what === 'set') {
          recent.set(name, at);
          latest.push(name);
        } else recent.delete(name);
        expect(recent.size).toBeLessThanOrEqual(20);
        expect(new Map(recent.entries()).size).toBe(recent.size);
        if (what === 'delete') expect(recent.get(name)).toBeUndefined();
        for (const kept of latest.slice(-10)) expect(recent.get(kept)).toBeDefined();
      });
    }),
  );
});
