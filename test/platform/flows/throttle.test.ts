import fc from 'fast-check';
import { Throttle, type Told, type Verdict } from '../../../src/platform/flows/throttle';

const NOW = 1_800_000_000_000;

/** One frame. @returns milliseconds that it was told to wait, 0 where it was judged */
function attempt(
  throttle: Throttle,
  serial: string,
  source: string,
  now = NOW,
  verdict: Verdict = 'failed',
): number {
  const wait = throttle.enter(serial, source, now);
  if (wait === 0) throttle.leave(serial, source, verdict, now);
  return wait;
}

/** Frames that are each judged, however long that takes. @returns when the last one was */
function failures(throttle: Throttle, times: number, serial: string, source: string, from = NOW): number {
  let now = from;
  for (let i = 0; i < times; i++) {
    now += throttle.delay(serial, source, now);
    expect(attempt(throttle, serial, source, now)).toBe(0);
  }
  return now;
}

function told(serial: string, source: string, failures: number, age = 0): Told {
  return { serial, source, failures, age, expiresIn: 600_000 };
}

test('the first failures are free, then the delay doubles up to 60 s, and one frame is judged after each', () => {
  const throttle = new Throttle();
  failures(throttle, 9, 'T1', 'a');
  expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  let now = NOW;
  const delays = Array.from({ length: 9 }, () => {
    expect(attempt(throttle, 'T1', 'a', now)).toBe(0);
    const delay = throttle.delay('T1', 'a', now);
    expect(throttle.delay('T1', 'a', now + delay)).toBe(0);
    expect(attempt(throttle, 'T1', 'a', now + delay - 1)).toBe(1);
    now += delay;
    return delay;
  });
  expect(delays).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
});

test('after a delay one frame is under judgement, not all that come together', () => {
  const throttle = new Throttle();
  const now = failures(throttle, 12, 'T1', 'a') + 60_000;
  expect(throttle.enter('T1', 'a', now)).toBe(0);
  expect(throttle.enter('T1', 'a', now)).toBe(1000);
  throttle.leave('T1', 'a', 'neither', now);
  expect(throttle.enter('T1', 'a', now)).toBe(0);
});

test('before the first failure as many are judged together as one window of logins holds', () => {
  const throttle = new Throttle();
  const waits = Array.from({ length: 100 }, () => throttle.enter('T1', 'a', NOW));
  expect(waits.filter((wait) => wait === 0)).toHaveLength(64);
  expect(throttle.enter('T2', 'a', NOW)).toBe(0);
});

test('another address, another serial are not concerned', () => {
  const throttle = new Throttle();
  failures(throttle, 20, 'T1', 'a');
  expect(throttle.delay('T1', 'b', NOW)).toBe(0);
  expect(throttle.delay('T2', 'a', NOW)).toBe(0);
});

test('what is no failed attempt does not count', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 50; i++) attempt(throttle, 'T1', 'a', NOW, 'neither');
  expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  expect(throttle.take(10)).toEqual({ noted: [], cleared: [] });
});

test('a success and time wipe the count', () => {
  const throttle = new Throttle();
  const now = failures(throttle, 20, 'T1', 'a') + 60_000;
  expect(attempt(throttle, 'T1', 'a', now, 'passed')).toBe(0);
  failures(throttle, 9, 'T1', 'a', now);
  expect(throttle.delay('T1', 'a', now)).toBe(0);
  failures(throttle, 9, 'T1', 'a', now + 600_000);
  expect(throttle.delay('T1', 'a', now + 600_000)).toBe(0);
});

test('an address may fail a thousand times a minute before it is slowed down as a whole', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 1000; i++) attempt(throttle, `T${i}`, 'nat');
  expect(throttle.delay('other', 'nat', NOW)).toBe(0);
  attempt(throttle, 'T1000', 'nat');
  expect(throttle.delay('other', 'nat', NOW)).toBe(1000);
  expect(throttle.delay('other', 'nat', NOW + 1000)).toBe(0);
  expect(attempt(throttle, 'other', 'nat', NOW + 60_000)).toBe(0);
  expect(throttle.delay('other', 'nat', NOW + 60_000)).toBe(0);
});

describe('shared', () => {
  test('what was noted is taken once, and comes back where it could not be written', () => {
    const throttle = new Throttle();
    failures(throttle, 3, 'T1', 'a');
    const untold = throttle.take(10);
    expect(untold.noted).toEqual([
      { serial: '', source: 'a', failures: 3 },
      { serial: 'T1', source: 'a', failures: 3 },
    ]);
    expect(throttle.take(10).noted).toEqual([]);
    throttle.putBack(untold);
    failures(throttle, 1, 'T1', 'a');
    expect(throttle.take(10).noted.map(({ failures: count }) => count)).toEqual([4, 4]);
  });

  test('what others have seen slows down here, from when they saw it', () => {
    const throttle = new Throttle();
    throttle.learn([told('T1', 'a', 13, 500)], throttle.era, NOW);
    expect(throttle.delay('T1', 'a', NOW)).toBe(7_500);
    throttle.learn([told('', 'b', 1001)], throttle.era, NOW);
    expect(throttle.delay('T2', 'b', NOW)).toBe(1_000);
  });

  test('failures here and there add up', () => {
    const throttle = new Throttle();
    failures(throttle, 6, 'T1', 'a');
    const { era } = throttle;
    throttle.take(10);
    failures(throttle, 1, 'T1', 'a');
    throttle.told([told('T1', 'a', 12)], era, NOW);
    expect(throttle.delay('T1', 'a', NOW)).toBe(4_000);
    // Twelve that are written, one that is not yet, and this one.
    expect(attempt(throttle, 'T1', 'a', NOW + 4_000)).toBe(0);
    expect(throttle.delay('T1', 'a', NOW + 4_000)).toBe(16_000);
  });

  test('a login ends the count everywhere, and what was read before does not bring it back', () => {
    const throttle = new Throttle();
    const now = failures(throttle, 12, 'T1', 'a') + 60_000;
    throttle.take(10);
    attempt(throttle, 'T1', 'a', now, 'passed');
    throttle.learn([told('T1', 'a', 12)], throttle.era, now);
    const before = throttle.era;
    expect(throttle.take(10).cleared).toEqual([{ serial: 'T1', source: 'a' }]);
    throttle.learn([told('T1', 'a', 12)], before, now);
    throttle.told([], throttle.era, now);
    throttle.learn([told('T1', 'a', 12)], before, now);
    expect(throttle.delay('T1', 'a', now)).toBe(0);
  });

  test('a terminal that never failed costs nothing to clear', () => {
    const throttle = new Throttle();
    attempt(throttle, 'T1', 'a', NOW, 'passed');
    expect(throttle.take(10).cleared).toEqual([]);
  });

  test('what an operator lifts is forgotten, and what was read before does not bring it back', () => {
    const throttle = new Throttle();
    const { era } = throttle;
    throttle.learn([told('T1', 'a', 20), told('T1', 'b', 20), told('', 'a', 2000)], era, NOW);
    throttle.lift(({ serial }) => serial === 'T1');
    throttle.learn([told('T1', 'a', 20)], era, NOW);
    expect(throttle.delay('T2', 'a', NOW)).toBe(1000);
    expect(throttle.delay('T1', 'b', NOW)).toBe(0);
    throttle.lift(({ source }) => source === 'a');
    expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  });
});

test('a million serials and a million addresses take no more memory than some', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 1_000_000; i++) {
    attempt(throttle, `T${i}`, `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`);
    if (i % 1000 === 0) throttle.learn([told(`S${i}`, `s${i}`, 20)], throttle.era, NOW);
    if (i % 10_000 === 0) throttle.take(1000);
  }
  expect(throttle.size).toBeLessThanOrEqual(200_000);
  expect(throttle.take(Infinity).noted.length).toBeLessThanOrEqual(200_000);
}, 1_800_000);

test('whatever comes in whatever order: no wait is longer than 60 s, and none outlives ten minutes', () => {
  const event = fc.record({
    serial: fc.constantFrom('T1', 'T2'),
    source: fc.constantFrom('a', 'b'),
    pause: fc.integer({ min: 0, max: 90_000 }),
    act: fc.constantFrom<Verdict | 'learn' | 'lift' | 'write'>(
      'failed', 'failed', 'failed', 'passed', 'neither', 'learn', 'lift', 'write',
    ), // prettier-ignore
    failures: fc.integer({ min: 0, max: 5_000 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      const throttle = new Throttle();
      let now = NOW;
      for (const { serial, source, pause, act, failures: count } of events) {
        now += pause;
        if (act === 'learn') throttle.learn([told(serial, source, count)], throttle.era, now);
        else if (act === 'lift') throttle.lift((counted) => counted.source === source);
        else if (act === 'write') throttle.putBack(throttle.take(1));
        else attempt(throttle, serial, source, now, act);
        expect(throttle.delay(serial, source, now)).toBeLessThanOrEqual(60_000);
      }
      for (const serial of ['T1', 'T2']) expect(throttle.delay(serial, 'a', now + 600_000)).toBe(0);
    }),
  );
});
