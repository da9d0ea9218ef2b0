import fc from 'fast-check';
import { Recent } from '../../src/platform/recent';

const LIFETIME = 50;

test('holds what was set last, at least half of its capacity, and never more than all of it', () => {
  const key = fc.integer({ min: 0, max: 40 }).map(String);
  const act = fc.constantFrom('set', 'set', 'set', 'delete');
  fc.assert(
    fc.property(fc.array(fc.tuple(act, key), { maxLength: 300 }), (steps) => {
      const recent = new Recent<number>(20, Infinity);
      let latest: string[] = [];
      steps.forEach(([what, name], at) => {
        latest = latest.filter((each) => each !== name);
        if (what === 'set') {
          recent.set(name, at, at);
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

test('what was not set for a lifetime goes as others are set, two turns later; nothing goes sooner', () => {
  const step = fc.tuple(fc.integer({ min: 0, max: 9 }).map(String), fc.integer({ min: 0, max: LIFETIME }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const recent = new Recent<number>(1_000, LIFETIME);
      const setAt = new Map<string, number>();
      let now = 1_800_000_000_000;
      for (const [name, later] of steps) {
        now += later;
        recent.set(name, now, now);
        setAt.set(name, now);
        for (const [each, at] of setAt) {
          if (now - at <= LIFETIME) expect(recent.get(each)).toBe(at);
          // The turns come with what is set, and that may be a lifetime later each.
          if (now - at >= 4 * LIFETIME) expect(recent.get(each)).toBeUndefined();
        }
      }
    }),
  );
});
