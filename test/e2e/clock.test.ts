/** Gateways whose own clock is wrong: terminals are judged by the database's. */
import { createDatabase, type TestDatabase } from '../support/database';
import { describeWithFaketime, fakeTime } from '../support/faketime';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { downlinkFlaw, heartbeat, login, now, RESULT, timestampOf } from '../support/oracle';
import { RawTerminal } from '../support/socket';

let database: TestDatabase;
let home: TestHome;
let operator: Operator;

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await database?.drop();
  home?.remove();
});

const start = (environment: Record<string, string>): Promise<GatewayProcess> =>
  startGateway({ databaseUrl: database.url, home, environment });

describeWithFaketime('a gateway whose clock is off', () => {
  test.each([
    ['ten minutes ahead', '+600s', '1'],
    ['ten minutes behind', '-600s', '1'],
    ['ten minutes ahead, with workers', '+600s', '2'],
  ])('%s: terminals log in, and are told the right time', async (_, offset, workers) => {
    const gateway = await start({ ...fakeTime(offset), M2M_WORKERS: workers });
    try {
      const line = await gateway.logged((each) => each['event.action'] === 'clock-off');
      expect(line).toMatchObject({ 'log.level': 'warn', 'event.outcome': 'failure' });
      expect(line['message']).toMatch(offset.startsWith('+') ? /ahead of the database's/ : /behind/);
      const terminal = await operator.provision();
      const socket = await RawTerminal.open(gateway);
      for (const [sequence, implicit] of [false, true].entries()) {
        const asked = login(terminal, { sequence, implicit });
        const answer = await socket.ask(asked);
        expect(answer.result).toBe(RESULT.OK);
        expect(downlinkFlaw(answer, terminal, asked)).toBeUndefined();
        expect(Math.abs(timestampOf(answer)! - now())).toBeLessThan(300);
      }
      expect((await socket.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
      expect((await socket.ask(login(terminal, { sequence: 3, at: now() + 600 }))).result).toBe(
        RESULT.CLOCK_SKEW,
      );
      socket.close();
      // Each process measures, one tells.
      expect(gateway.log.filter((each) => each['event.action'] === 'clock-off')).toHaveLength(1);
    } finally {
      await gateway.stop();
    }
  });

  test('a short session lasts as long as it should', async () => {
    const gateway = await start({ ...fakeTime('+600s'), M2M_SESSION_TTL: '5' });
    try {
      const terminal = await operator.provision();
      const socket = await RawTerminal.open(gateway);
      expect((await socket.ask(login(terminal))).result).toBe(RESULT.OK);
      const ended = await gateway.logged((each) => each['event.action'] === 'session-ended');
      expect(ended['m2m.detail']).toBe('expired');
      const began = await gateway.logged((each) => each['event.action'] === 'terminal-login');
      const lasted = Date.parse(ended['@timestamp'] as string) - Date.parse(began['@timestamp'] as string);
      // By its own clock it would have expired at once.
      expect(lasted).toBeGreaterThan(3_000);
      socket.close();
    } finally {
      await gateway.stop();
    }
  });
});

test('one that is right says nothing of clocks', async () => {
  const gateway = await start({});
  try {
    const terminal = await operator.provision();
    const socket = await RawTerminal.open(gateway);
    expect((await socket.ask(login(terminal))).result).toBe(RESULT.OK);
    socket.close();
    expect(gateway.log.filter((each) => each['event.action'] === 'clock-off')).toEqual([]);
  } finally {
    await gateway.stop();
  }
});
