import fc from 'fast-check';
import { Throttle, type Judged, type Told, type Verdict } from '../../../src/platform/flows/throttle';
import { attempt as attemptAt } from '../../support/attempt';

const NOW = 1_800_000_000_000;

const attempt = (
  throttle: Throttle,
  serial: string,
  source: string,
  now = NOW,
  verdict: Verdict = 'failed',
): number => attemptAt(throttle, serial, source, now, verdict);

/** Frames that are each judged, however long that takes. @returns when the last one was */
function failures(throttle: Throttle, times: number, serial: string, source: string, from = NOW): number {
  let now = from;
  for (let i = 0; i < times; i++) {
    now += throttle.delay(serial, source, now);
    expect(attempt(throttle, serial, source, now)).toBe(0);
  }
  return now;
}

/** Of so many frames that come together, those that are judged. */
const admitted = (throttle: Throttle, together: number): Judged[] =>
  Array.from({ length: together }, () => throttle.enter('T1', 'a', NOW)).filter(
    (judged) => typeof judged !== 'number',
  );

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
  const judged = throttle.enter('T1', 'a', now) as Judged;
  expect(judged.of).toEqual({ serial: 'T1', source: 'a' });
  expect(throttle.enter('T1', 'a', now)).toBe(1000);
  throttle.leave(judged, 'neither', now);
  expect(throttle.enter('T1', 'a', now)).toEqual(judged);
});

test('before the first failure as many are judged together as one window of logins holds', () => {
  const throttle = new Throttle();
  expect(admitted(throttle, 100)).toHaveLength(64);
  expect(throttle.enter('T2', 'a', NOW)).toMatchObject({ of: { serial: 'T2' } });
});

test('after failures no more are judged together than are free; who leaves makes room for one', () => {
  const throttle = new Throttle();
  failures(throttle, 3, 'T1', 'a');
  const judged = admitted(throttle, 20);
  expect(judged).toHaveLength(7);
  for (const one of judged.slice(0, 2)) throttle.leave(one, 'neither', NOW);
  expect(admitted(throttle, 20)).toHaveLength(2);
  for (const one of judged) throttle.leave(one, 'neither', NOW);
  expect(admitted(throttle, 20)).toHaveLength(7);
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

test('a count is forgotten: ten minutes after its last failure, that of an address a minute after its first', () => {
  const throttle = new Throttle();
  failures(throttle, 9, 'T1', 'a');
  failures(throttle, 1, 'T1', 'a', NOW + 599_999);
  expect(throttle.delay('T1', 'a', NOW + 599_999)).toBe(1000);
  failures(throttle, 1, 'T1', 'a', NOW + 1_199_998);
  expect(throttle.delay('T1', 'a', NOW + 1_199_998)).toBe(2000);
  failures(throttle, 9, 'T1', 'a', NOW + 1_799_998);
  expect(throttle.delay('T1', 'a', NOW + 1_799_998)).toBe(0);
  for (let i = 0; i < 1000; i++) attempt(throttle, `T${i}`, 'nat');
  attempt(throttle, 'T1000', 'nat', NOW + 59_999);
  expect(throttle.delay('T1', 'nat', NOW + 59_999)).toBe(1000);
  expect(throttle.delay('T1', 'nat', NOW + 60_000)).toBe(0);
  attempt(throttle, 'T1', 'nat', NOW + 61_000);
  expect(throttle.delay('T2', 'nat', NOW + 61_000)).toBe(0);
});

test('the longer delay counts: that of the pair or that of its address', () => {
  const throttle = new Throttle();
  throttle.learn([told('T1', 'a', 15), told('', 'a', 1001), told('T2', 'a', 9)], throttle.era, NOW);
  expect(throttle.delay('T1', 'a', NOW)).toBe(32_000);
  expect(throttle.delay('T2', 'a', NOW)).toBe(1000);
  expect(throttle.enter('T2', 'a', NOW)).toBe(1000);
});

test('counts and frames in memory', () => {
  const throttle = new Throttle();
  expect(throttle.size).toBe(0);
  const judged = throttle.enter('T1', 'a', NOW) as Judged;
  expect(throttle.size).toBe(1);
  throttle.leave(judged, 'failed', NOW);
  expect(throttle.size).toBe(2);
  throttle.take(10);
  attempt(throttle, 'T1', 'a', NOW, 'passed');
  // Its address's count, and what the others are to be told of the pair.
  expect(throttle.size).toBe(2);
  throttle.take(10);
  expect(throttle.size).toBe(1);
});

describe('shared', () => {
  test('what was noted is taken once, and comes back where it could not be written', () => {
    const throttle = new Throttle();
    failures(throttle, 3, 'T1', 'a');
    const untold = throttle.take(10);
    expect(untold.noted).toEqual([
      { serial: '', source: 'a', failures: 3, failedAt: NOW },
      { serial: 'T1', source: 'a', failures: 3, failedAt: NOW },
    ]);
    expect(throttle.take(10).noted).toEqual([]);
    throttle.putBack(untold);
    failures(throttle, 1, 'T1', 'a');
    expect(throttle.take(10).noted.map(({ failures: count }) => count)).toEqual([4, 4]);
  });

  test('with its number goes when the latest was', () => {
    const throttle = new Throttle();
    for (const at of [NOW, NOW + 20, NOW + 30]) attempt(throttle, 'T1', 'a', at);
    const three = { source: 'a', failures: 3, failedAt: NOW + 30 };
    expect(throttle.take(10).noted).toEqual([
      { serial: '', ...three },
      { serial: 'T1', ...three },
    ]);
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

  test('a terminal that never failed, or of whose failures nobody was told, costs nothing to clear', () => {
    const throttle = new Throttle();
    attempt(throttle, 'T1', 'a', NOW, 'passed');
    failures(throttle, 3, 'T2', 'a');
    attempt(throttle, 'T2', 'a', NOW, 'passed');
    expect(throttle.take(10).cleared).toEqual([]);
    failures(throttle, 1, 'T2', 'a');
    throttle.take(10);
    failures(throttle, 1, 'T2', 'a');
    attempt(throttle, 'T2', 'a', NOW, 'passed');
    expect(throttle.take(10).cleared).toEqual([{ serial: 'T2', source: 'a' }]);
    throttle.told([], throttle.era, NOW);
    expect(throttle.take(10).cleared).toEqual([]);
  });

  test('an end that could not be told is told the next time, and no count comes back in between', () => {
    const throttle = new Throttle();
    throttle.learn([told('T1', 'a', 20, 60_000)], throttle.era, NOW);
    attempt(throttle, 'T1', 'a', NOW, 'passed');
    const untold = throttle.take(10);
    const { era } = throttle;
    throttle.putBack(untold);
    throttle.learn([told('T1', 'a', 20), told('T2', 'a', 20)], era, NOW);
    expect([throttle.delay('T1', 'a', NOW), throttle.delay('T2', 'a', NOW)]).toEqual([0, 60_000]);
    expect(throttle.take(10).cleared).toEqual([{ serial: 'T1', source: 'a' }]);
    throttle.told([], era, NOW);
    expect(throttle.era).toBe(era + 1);
    throttle.take(10);
    throttle.told([], era, NOW);
    expect(throttle.era).toBe(era + 1);
  });

  test('of what was written only counts that still stand here are learnt', () => {
    const throttle = new Throttle();
    failures(throttle, 1, 'T1', 'a');
    throttle.told([told('T1', 'a', 12), told('T2', 'a', 12)], throttle.era, NOW);
    expect([throttle.delay('T1', 'a', NOW), throttle.delay('T2', 'a', NOW)]).toEqual([4000, 0]);
  });

  test('what is learnt lengthens, and never shortens', () => {
    const throttle = new Throttle();
    throttle.learn([told('T1', 'a', 14)], throttle.era, NOW);
    throttle.learn([{ ...told('T1', 'a', 11, 500), expiresIn: 5 }], throttle.era, NOW);
    expect(throttle.delay('T1', 'a', NOW)).toBe(16_000);
    attempt(throttle, 'T1', 'a', NOW + 16_000);
    expect(throttle.delay('T1', 'a', NOW + 16_000)).toBe(32_000);
    // Their clock may be ahead of ours: the delay begins now, not later.
    throttle.learn([told('T2', 'a', 10, -5000)], throttle.era, NOW);
    expect(throttle.delay('T2', 'a', NOW)).toBe(1000);
    throttle.learn([{ ...told('T3', 'a', 9), expiresIn: 1000 }], throttle.era, NOW);
    throttle.learn([{ ...told('T3', 'a', 9), expiresIn: 2000 }], throttle.era, NOW);
    attempt(throttle, 'T3', 'a', NOW + 1999);
    expect(throttle.delay('T3', 'a', NOW + 1999)).toBe(1000);
  });

  test('addresses first, up to half; of single failures a tenth each', () => {
    const throttle = new Throttle();
    for (let i = 0; i < 200; i++) attempt(throttle, `T${i}`, `a${i}`);
    const counted = (noted: readonly { serial: string }[]) => {
      const sources = noted.filter(({ serial }) => serial === '').length;
      return [sources, noted.length - sources];
    };
    expect(counted(throttle.take(100).noted)).toEqual([10, 10]);
    for (let i = 0; i < 400; i++) attempt(throttle, `S${i % 200}`, `b${i % 200}`);
    expect(counted(throttle.take(100).noted)).toEqual([50, 50]);
    expect(counted(throttle.take(1000).noted)).toEqual([150, 150]);
  });

  test('what an operator lifts is forgotten, and what was read before does not bring it back', () => {
    const throttle = new Throttle();
    const { era } = throttle;
    throttle.learn([told('T1', 'a', 20), told('T1', 'b', 20), told('', 'a', 2000)], era, NOW);
    throttle.lift(({ serial }) => serial === 'T1');
    expect(throttle.era).toBe(era + 1);
    throttle.learn([told('T1', 'a', 20)], era, NOW);
    expect(throttle.delay('T2', 'a', NOW)).toBe(1000);
    expect(throttle.delay('T1', 'b', NOW)).toBe(0);
    throttle.lift(({ source }) => source === 'a');
    expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  });
});

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
