/** A bound from below: by it nothing is given up there later than here. */
import fc from 'fast-check';
import { ServerClock } from '../../../src/platform/store/serverClock';

const EPOCH = 1_800_000_000;

/** As a server would answer whose clock is EPOCH when performance.now() is 0. @param late milliseconds each way */
function reading(clock: ServerClock, at: number, [there, back]: readonly [number, number], set = 0): void {
  clock.hear(EPOCH + set + (at + there) / 1000, at, at + there + back);
}

test('before the server has said anything, whatever comes is late', () => {
  expect(new ServerClock().at(1e9)).toBe(-Infinity);
});

test('however long answers take: never ahead of the server, and no worse than after the quickest way back', () => {
  const milliseconds = fc.integer({ min: 0, max: 8_000 });
  fc.assert(
    fc.property(fc.array(fc.tuple(milliseconds, milliseconds), { minLength: 1 }), (ways) => {
      const clock = new ServerClock();
      ways.forEach((way, i) => reading(clock, i * 20_000, way));
      const behind = EPOCH + 1_000 - clock.at(1_000_000);
      const quickest = Math.min(...ways.map(([, back]) => back)) / 1000;
      expect(behind).toBeGreaterThan(-1e-6);
      expect(behind).toBeLessThan(quickest + 1e-6);
    }),
  );
});

test.each([3_600, -3_600, 0.5, -0.5])('a server whose clock is set by %d s is believed at once', (set) => {
  const clock = new ServerClock();
  reading(clock, 0, [5, 5]);
  reading(clock, 10_000, [5, 5], set);
  expect(clock.at(20_000)).toBeCloseTo(EPOCH + set + 20 - 0.005, 6);
});
