/** The pure parts of the load generator: who logs in, when, how often, and how threads' results add up. */
import * as fc from 'fast-check';
import { Agenda } from '../../src/terminal/load/agenda';
import { arrivalAt, arrivalsBefore, rampRates, slices, stormArrival } from '../../src/terminal/load/arrivals';
import { benchTerminal, isWrong } from '../../src/terminal/load/identity';
import { AUTH_FAILED, LOST, OK, outcomeName } from '../../src/terminal/load/outcomes';
import { LOGINS_A_WINDOW, loginsAllowed, tooManyLogins } from '../../src/terminal/load/plan';
import { Pool } from '../../src/terminal/load/pool';
import { canChooseSource, Sources } from '../../src/terminal/load/sources';
import { Stock } from '../../src/terminal/load/stock';
import { CURVE_STEP, curveStep, merge, newTally, pack, recordMs } from '../../src/terminal/load/tally';
import { HMAC_SHA256, MD5 } from '../../src/protocol/suites';

const luhnHolds = (digits: string): boolean =>
  [...digits].reverse().reduce((sum, digit, i) => {
    const value = Number(digit) * (i % 2 === 1 ? 2 : 1);
    return sum + (value > 9 ? value - 9 : value);
  }, 0) %
    10 ===
  0;

describe('terminals', () => {
  test('follow from seed and number alone, and fit the database', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(9_999_998), (seed, index) => {
        const terminal = benchTerminal(seed, index, HMAC_SHA256);
        expect(terminal).toEqual(benchTerminal(seed, index, HMAC_SHA256));
        expect(terminal.serial).toMatch(/^BENCH-[0-9]{7}$/);
        expect(terminal.imei).toMatch(/^[0-9]{15}$/);
        expect(luhnHolds(terminal.imei)).toBe(true);
        expect(terminal.imsi).toMatch(/^[0-9]{15}$/);
      }),
    );
  });

  test('differ by number, their secrets by seed too', () => {
    const [one, two] = [benchTerminal('a', 0, MD5), benchTerminal('a', 1, MD5)];
    for (const field of ['serial', 'imei', 'imsi', 'uplinkPassword', 'downlinkPassword', 'baseKey'] as const)
      expect(one[field]).not.toEqual(two[field]);
    expect(one.uplinkPassword).not.toEqual(one.downlinkPassword);
    expect(benchTerminal('b', 0, MD5).uplinkPassword).not.toEqual(one.uplinkPassword);
  });

  test('so many percent of any hundred have a wrong password', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.nat(100_000), (percent, first) => {
        const wrong = Array.from({ length: 100 }, (_, i) => isWrong(first + i, percent)).filter(Boolean);
        expect(wrong).toHaveLength(percent);
      }),
    );
  });
});

describe('arrivals', () => {
  test('are even, and as many as the rate says', () => {
    expect([0, 1, 2].map((n) => arrivalAt(1000, n, 4))).toEqual([1000, 1250, 1500]);
    expect(arrivalsBefore(0, 300, 10)).toBe(3);
    expect(arrivalsBefore(0, 301, 10)).toBe(4);
    expect(arrivalsBefore(5, 5, 10)).toBe(0);
  });

  test('all that are counted are due before the end, and the next one is not', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 60_000 }), (rate, span) => {
        const n = arrivalsBefore(0, span, rate);
        expect(arrivalAt(0, n - 1, rate)).toBeLessThan(span + 1e-6);
        expect(arrivalAt(0, n, rate)).toBeGreaterThan(span - 1e-6);
      }),
    );
  });

  test('a ramp has both ends', () => {
    expect(rampRates(100, 400, 4)).toEqual([100, 200, 300, 400]);
    expect(rampRates(100, 400, 1)).toEqual([100]);
  });

  test("a storm's threads interleave: all terminals together are evenly spaced", () => {
    const window = { start: 50, within: 1000 };
    const all = [0, 1].flatMap((thread) =>
      [0, 1].map((i) => stormArrival(window, { i, count: 2, thread, threads: 2 })),
    );
    expect(all.sort((a, b) => a - b)).toEqual([50, 300, 550, 800]);
  });

  test('slices cover everything once', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.integer({ min: 1, max: 64 }), (total, parts) => {
        const cut = slices(total, parts);
        expect(cut.reduce((sum, { count }) => sum + count, 0)).toBe(total);
        cut.forEach(({ first }, i) =>
          expect(first).toBe(i === 0 ? 0 : cut[i - 1]!.first + cut[i - 1]!.count),
        );
        const counts = cut.map(({ count }) => count);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

test('an agenda gives what is due, earliest first', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000)), fc.nat(1000), (times, now) => {
      const agenda = new Agenda();
      times.forEach((at, item) => agenda.add(at, item));
      const taken: number[] = [];
      for (let entry = agenda.take(now); entry !== undefined; entry = agenda.take(now)) {
        expect(entry.at).toBe(times[entry.item]);
        taken.push(entry.at);
      }
      expect(taken).toEqual(times.filter((at) => at <= now).sort((a, b) => a - b));
      expect(agenda.size).toBe(times.length - taken.length);
    }),
  );
});

test('a pool gives terminals in the order in which they came back', () => {
  const pool = new Pool(3);
  expect([pool.take(), pool.take(), pool.take(), pool.take()]).toEqual([0, 1, 2, undefined]);
  pool.give(2);
  pool.give(0);
  expect([pool.take(), pool.take(), pool.take()]).toEqual([2, 0, undefined]);
});

describe('how often a terminal logs in', () => {
  test('as often as the replay memory has room, and not once more', () => {
    expect(tooManyLogins(10 * LOGINS_A_WINDOW, 10, 30)).toBeUndefined();
    const refused = tooManyLogins(10 * LOGINS_A_WINDOW + 1, 10, 30);
    expect(refused).toContain('601 logins within 10 minutes by 10 terminals are 61 each');
    expect(refused).toContain('--terminals 11 or more');
  });

  test('a long run counts by what falls into ten minutes', () => {
    expect(tooManyLogins(1200, 10, 1200)).toBeUndefined();
    expect(tooManyLogins(1202, 10, 1200)).toBeDefined();
    expect([loginsAllowed(1), loginsAllowed(600), loginsAllowed(601)]).toEqual([60, 60, 120]);
  });
});

describe('source addresses', () => {
  test('are of the thread alone, and no pair comes twice for long', () => {
    const [one, two] = [new Sources(0), new Sources(1)];
    const taken = Array.from({ length: 5000 }, () => one.take());
    expect(new Set(taken.map(({ localAddress, localPort }) => `${localAddress}:${localPort}`)).size).toBe(
      5000,
    );
    expect(taken.every(({ localAddress }) => /^127\.0\.1\.[0-9]+$/.test(localAddress))).toBe(true);
    expect(taken.every(({ localPort }) => localPort >= 1024 && localPort < 65_536)).toBe(true);
    expect(two.take().localAddress).toMatch(/^127\.0\.2\./);
  });

  test('are chosen on the loopback of Linux only', () => {
    expect(canChooseSource('127.0.0.1', 'linux')).toBe(true);
    expect(canChooseSource('10.0.0.1', 'linux')).toBe(false);
    expect(canChooseSource('127.0.0.1', 'darwin')).toBe(false);
  });
});

describe('a stock of frames', () => {
  const crew = {
    seed: 's',
    suite: HMAC_SHA256,
    first: 5,
    count: 3,
    wrong: 0,
    sessionKey: true,
    sequence: 7,
    again: false,
  } as const;

  test('gives each frame once, with rising sequences, and signs what it lacks', () => {
    const stock = new Stock(crew);
    stock.fill(2);
    const frames = [0, 0, 0, 1].map((terminal) => stock.take(terminal));
    expect(frames.map(({ sequence }) => sequence)).toEqual([7, 8, 9, 7]);
    expect(frames.map(({ bytes }) => bytes.readUInt32BE(4))).toEqual([7, 8, 9, 7]);
    expect(frames.map(({ bytes }) => bytes.toString('latin1', 12, 25))).toEqual([
      'BENCH-0000006',
      'BENCH-0000006',
      'BENCH-0000006',
      'BENCH-0000007',
    ]);
    expect(new Set(frames.map(({ bytes }) => bytes.toString('hex'))).size).toBe(4);
    expect([stock.signedLate, stock.logins(0), stock.logins(2)]).toEqual([1, 3, 0]);
  });

  test('filled again it goes on behind the terminal that has used most', () => {
    const stock = new Stock(crew);
    stock.fill(1);
    for (const terminal of [0, 1, 2]) stock.take(terminal);
    stock.fill(2);
    expect([0, 1, 2].map((terminal) => stock.take(terminal).sequence)).toEqual([8, 8, 8]);
    expect(stock.signedLate).toBe(0);
  });

  test('for a server that echoes, frames are sent again when all have been', () => {
    const stock = new Stock({ ...crew, again: true });
    stock.fill(2);
    const frames = [0, 0, 0, 0, 0, 1].map((terminal) => stock.take(terminal));
    expect(frames.map(({ sequence }) => sequence)).toEqual([7, 8, 7, 8, 7, 7]);
    expect(frames[4]!.bytes).toEqual(frames[0]!.bytes);
    expect(frames[5]!.bytes).not.toEqual(frames[0]!.bytes);
    expect([stock.signedLate, stock.logins(0)]).toEqual([0, 5]);
  });

  test('heartbeats go above the login', () => {
    const stock = new Stock(crew);
    stock.fill(1);
    stock.take(1);
    expect([stock.heartbeat(1).sequence, stock.heartbeat(1).sequence]).toEqual([8, 9]);
  });
});

test("threads' tallies add up", () => {
  const [one, two] = [newTally(), newTally()];
  recordMs(one.ok, 1);
  recordMs(two.ok, 3);
  recordMs(two.ok, -0.2);
  recordMs(two.wrong, 50);
  one.outcomes[OK]! += 1;
  two.outcomes[OK]! += 2;
  two.outcomes[LOST]! += 4;
  two.wrongOutcomes[AUTH_FAILED]! += 1;
  curveStep(one, 0).in = 1;
  curveStep(two, CURVE_STEP * 2.5).in = 2;
  curveStep(two, 0).outcomes[6] = 3;
  Object.assign(one, { lastAt: 5, in: 1, unsent: 2 });
  Object.assign(two, { lastAt: 4, in: 2 });
  const sum = merge([pack(one), pack(two)]);
  expect([sum.ok.totalCount, sum.ok.maxValue, sum.ok.minNonZeroValue]).toEqual([
    3,
    expect.closeTo(3000, -1),
    1000,
  ]);
  expect(sum.wrong.totalCount).toBe(1);
  expect([sum.outcomes[OK], sum.outcomes[LOST], sum.wrongOutcomes[AUTH_FAILED]]).toEqual([3, 4, 1]);
  expect(sum.curve).toEqual([
    { in: 1, outcomes: { 6: 3 } },
    { in: 0, outcomes: {} },
    { in: 2, outcomes: {} },
  ]);
  expect([sum.lastAt, sum.in, sum.unsent]).toEqual([5, 3, 2]);
});

test('outcomes have the names of results, and of what has none', () => {
  expect([outcomeName(OK), outcomeName(6), outcomeName(LOST), outcomeName(13)]).toEqual([
    'OK',
    'BUSY',
    'connection lost',
    'CHANGE_REFUSED',
  ]);
});
