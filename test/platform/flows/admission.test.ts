import * as fc from 'fast-check';
import {
  Admission,
  FIRST_TURN,
  LAST_TURN,
  MOST_UNDER_WAY,
  type Ticket,
} from '../../../src/platform/flows/admission';

const T0 = 1_800_000_000_000;
const OLDEST = 2_000;
const isTicket = (entry: Ticket | number): entry is Ticket => typeof entry !== 'number';

function full(now = T0): { admission: Admission; tickets: Ticket[] } {
  const admission = new Admission(OLDEST, () => 0.5);
  const tickets = Array.from({ length: MOST_UNDER_WAY }, () => admission.enter(now)).filter(isTicket);
  expect(tickets).toHaveLength(MOST_UNDER_WAY);
  return { admission, tickets };
}

test('one more than there is room for gets a turn; who leaves makes room for one', () => {
  const { admission, tickets } = full();
  expect(admission.enter(T0)).toBeGreaterThanOrEqual(FIRST_TURN);
  admission.leave(tickets[7]!, T0 + 1);
  expect(isTicket(admission.enter(T0 + 1))).toBe(true);
  expect(isTicket(admission.enter(T0 + 1))).toBe(false);
  admission.leave(tickets[7]!, T0 + 2);
  expect(admission.size).toBe(MOST_UNDER_WAY);
});

test('a single login that the database does not finish turns the others away, until it is finished', () => {
  const admission = new Admission(OLDEST, () => 0.5);
  const stuck = admission.enter(T0) as Ticket;
  expect(isTicket(admission.enter(T0 + OLDEST - 1))).toBe(true);
  expect(isTicket(admission.enter(T0 + OLDEST))).toBe(false);
  admission.leave(stuck, T0 + OLDEST);
  expect(isTicket(admission.enter(T0 + OLDEST))).toBe(true);
});

test('one that waits for somebody who holds its row is not counted meanwhile, and from its return on', () => {
  const admission = new Admission(OLDEST, () => 0.5);
  const passed = admission.enter(T0) as Ticket;
  admission.stepAside(passed);
  expect(admission.size).toBe(0);
  expect(isTicket(admission.enter(T0 + OLDEST))).toBe(true);
  admission.stepBack(passed, T0 + OLDEST);
  expect(admission.size).toBe(2);
  expect(isTicket(admission.enter(T0 + 2 * OLDEST - 1))).toBe(true);
  expect(isTicket(admission.enter(T0 + 2 * OLDEST))).toBe(false);
});

test('turns stand one behind the other at the rate at which logins are finished', () => {
  const { admission, tickets } = full();
  // 1,000 a second, for some seconds with somebody at the door.
  let now = T0;
  for (let i = 0; i < 4_000; i++) {
    now = T0 + i;
    admission.leave(tickets[i]!, now);
    tickets.push(admission.enter(now) as Ticket);
    if (i % 100 === 0) expect(isTicket(admission.enter(now))).toBe(false);
  }
  now += 60_000;
  admission.leave(tickets[4_000]!, now);
  const late = new Admission(OLDEST, () => 0.5);
  expect(isTicket(late.enter(now))).toBe(true);
  const turns = Array.from({ length: 3_000 }, () => admission.enter(now) as number);
  expect(turns[0]).toBeGreaterThanOrEqual(FIRST_TURN);
  for (let i = 1; i < turns.length; i++) expect(turns[i]).toBeGreaterThanOrEqual(turns[i - 1]!);
  const span = turns.at(-1)! - turns[0]!;
  expect(span).toBeGreaterThan(2_500);
  expect(span).toBeLessThan(3_500);
});

/** Turns that everybody gets who comes at `now`, `count` of them, once there is no room. */
function turnsAt(admission: Admission, now: number, count: number): number[] {
  while (admission.size < MOST_UNDER_WAY) admission.enter(now);
  return Array.from({ length: count }, () => admission.enter(now) as number);
}

/** Milliseconds over which 1,000 turns stretch: a second at a rate of 1,000 logins a second. */
function spread(admission: Admission, now: number): number {
  const turns = turnsAt(admission, now, 1001);
  return turns.at(-1)! - turns[0]!;
}

test('the first turns: a second from now, at the rate that is believed', () => {
  const { admission } = full();
  const turns = turnsAt(admission, T0, 21);
  expect([turns[0], turns[9], turns[19]]).toEqual([1000, 1001, 1002]);
  // The others still stand before whoever comes later.
  expect(admission.enter(T0 + 1)).toBe(1001);
});

test.each<[string, number, boolean, number]>([
  ['a quarter of a second after', 250, true, 197],
  ['just before that, which is too early', 249, true, 100],
  ['just below a second after', 999, true, 199],
  ['a second after, which is too late', 1000, true, 100],
  ['before, by a clock that was set back', -1, true, 100],
  ['while nobody was turned away', 250, false, 100],
])('what is believed of the rate, measured %s', (_name, later, turnedAway, expected) => {
  const { admission, tickets } = full();
  if (turnedAway) admission.enter(T0);
  // Next to nothing: half of the rate that was believed goes.
  for (const ticket of tickets.slice(0, 40)) admission.leave(ticket, T0);
  expect(spread(admission, T0 + later)).toBe(expected);
});

test('every measurement is of its own time', () => {
  const { admission, tickets } = full();
  admission.enter(T0);
  for (const ticket of tickets.slice(0, 1000)) admission.leave(ticket, T0 + 1);
  // 4,000 a second, then none; each counts for a half: 7,000, then 3,500.
  expect(spread(admission, T0 + 250)).toBe(143);
  expect(spread(admission, T0 + 500)).toBe(286);
});

test('the rate never falls below the least', () => {
  const { admission } = full();
  for (let i = 1; i <= 30; i++) admission.enter(T0 + i * 250);
  expect(spread(admission, T0 + 30 * 250)).toBe(10_000);
});

test('turns that would be too far away are spread over the time up to the last one', () => {
  const { admission } = full();
  // Nothing is finished: the rate falls to the least that is believed.
  let now = T0;
  for (let i = 0; i < 20; i++) admission.enter((now += 300));
  const turns = Array.from({ length: 20_000 }, () => admission.enter(now) as number);
  expect(Math.max(...turns)).toBeGreaterThan(LAST_TURN - 1_000);
  expect(Math.max(...turns)).toBeLessThanOrEqual(LAST_TURN);
  expect(turns.at(-1)).toBe(Math.round((FIRST_TURN + LAST_TURN) / 2));
});

test('whatever comes and goes, however the clock jumps: the bound holds, and every turn is in the future', () => {
  const step = fc.record({ advance: fc.integer({ min: -10_000, max: 10_000 }), leave: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const { admission, tickets } = full();
      let now = T0;
      for (const { advance, leave } of steps) {
        now += advance;
        if (leave) admission.leave(tickets.pop()!, now);
        const entry = admission.enter(now);
        if (isTicket(entry)) tickets.push(entry);
        else expect(entry).toBeGreaterThanOrEqual(FIRST_TURN);
        expect(admission.size).toBeLessThanOrEqual(MOST_UNDER_WAY);
        expect(admission.size).toBe(tickets.length);
      }
    }),
    { numRuns: 20 },
  );
});
