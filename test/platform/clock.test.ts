import { Clock } from '../../src/platform/clock';
import type { Log, LogFacts } from '../../src/platform/ops/log';

const NOW = 1_800_000_000_000;

function make() {
  const told: LogFacts[] = [];
  const log: Log = { event: (action, facts) => void (action === 'clock-off' && told.push(facts)) };
  const state = { own: NOW, ahead: 0, set: 0, away: false };
  const clock = new Clock({
    ask: () => Promise.resolve(state.away ? undefined : state.own - state.ahead),
    own: () => state.own,
    machine: () => state.own + state.set,
    log,
  });
  return { clock, state, told };
}

test('one that is right is left alone', async () => {
  const { clock, state, told } = make();
  state.ahead = 900;
  await clock.measure();
  expect(clock.now()).toBe(NOW);
  expect(told).toEqual([]);
});

test.each([600_000, -600_000])(
  '%d ms ahead: the time is that of the database, and the log says so once',
  async (ahead) => {
    const { clock, state, told } = make();
    state.ahead = ahead;
    await clock.measure();
    await clock.measure();
    expect(Math.abs(clock.now() - (NOW - ahead))).toBeLessThan(1000);
    expect(told).toMatchObject([{ level: 'warn', outcome: 'failure' }]);
    expect(told[0]!.message).toContain(ahead > 0 ? '600.0 s ahead of' : '600.0 s behind');
  },
);

test('a little more or less does not make it jump', async () => {
  const { clock, state } = make();
  state.ahead = 600_000;
  await clock.measure();
  const before = clock.now();
  state.ahead = 600_500;
  await clock.measure();
  expect(clock.now()).toBe(before);
});

test('set right: its own time again, and one line about it', async () => {
  const { clock, state, told } = make();
  state.ahead = 600_000;
  await clock.measure();
  state.ahead = 0;
  await clock.measure();
  await clock.measure();
  expect(Math.abs(clock.now() - NOW)).toBeLessThan(1000);
  expect(told.map(({ outcome }) => outcome)).toEqual(['failure', 'success']);
});

test('while the database is away the offset stays', async () => {
  const { clock, state } = make();
  state.ahead = 600_000;
  await clock.measure();
  const before = clock.now();
  state.away = true;
  await clock.measure();
  expect(clock.now()).toBe(before);
});

test("where somebody sets the machine's clock the time stays, and the log says so once", async () => {
  const { clock, state, told } = make();
  await clock.measure();
  state.set = 3_600_000;
  expect(clock.now()).toBe(NOW);
  await clock.measure();
  await clock.measure();
  expect(clock.now()).toBe(NOW);
  expect(told.map(({ message }) => message)).toEqual([expect.stringContaining('3600.0 s ahead of')]);
});
