/** Sessions that are judged by what the database says, while logins go on. */
import type { Connection } from '../../../src/platform/listener/connection';
import { Registry } from '../../../src/platform/listener/registry';
import { NO_CHANGES, type Session, type TerminalRecord } from '../../../src/platform/model';
import { Effects } from '../../../src/platform/pipeline/effects';
import type { Reporter } from '../../../src/platform/pipeline/reporter';
import { DatabaseAway } from '../../../src/platform/store/database';
import { RecordCache } from '../../../src/platform/store/recordCache';
import type { FreshView } from '../../../src/platform/store/terminals';

const TIMEOUT_MS = 600_000;

const record: TerminalRecord = {
  id: 7,
  serial: 'T7',
  imei: '868123000000019',
  imsi: '460001234567890',
  status: 'active',
  leastLogin: 'md5',
  uplinkPassword: Buffer.from('up'),
  downlinkPassword: Buffer.from('down'),
  baseKey: undefined,
  changes: NO_CHANGES,
  msisdn: undefined,
  packetsRevokedAt: 0,
  revision: 3,
};

function loggedIn(id: string): Connection {
  const signer = { suite: 1, password: Buffer.from('down'), imei: record.imei, imsi: record.imsi } as const;
  const session: Session = {
    id,
    login: 'md5',
    signer,
    expiresAt: 1e15,
    terminal: record,
    lastSequence: 1,
    told: 0,
  };
  const connection = {
    ...{ session, isOpen: true, sendAway: jest.fn(), send: jest.fn(), nextSequence: () => 1 },
  };
  return connection as unknown as Connection;
}

const view = (sessionId: string): FreshView => ({
  record,
  row: { sessionId, endReason: undefined, logins: [], requests: [] },
});

beforeEach(() => jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] }));
afterEach(() => jest.useRealTimers());

/** Effects whose database answers when the test says so. */
function workshop() {
  const asked: ((views: FreshView[] | Promise<never>) => void)[] = [];
  const failed = jest.fn();
  const registry = new Registry();
  const ended = jest.fn();
  const clock = { now: 1_000 };
  const cache = new RecordCache(10);
  const notice = jest.fn();
  const store = {
    byIds: () => new Promise<FreshView[]>((resolve) => asked.push(resolve)),
    expire: jest.fn(() => Promise.resolve()),
    detach: jest.fn(() => Promise.resolve()),
  };
  const effects = new Effects({
    store,
    cache,
    registry,
    reporter: { sessionEnded: ended, notice } as unknown as Reporter,
    configure: () => undefined,
    timeout: TIMEOUT_MS,
    now: () => clock.now,
    clock: () => clock.now,
    onError: failed,
  });
  const superseded = () =>
    effects.onChanges([{ terminalId: 7, serial: 'T7', action: 'session-superseded', targeted: true }]);
  const answer = async (...views: FreshView[]) => {
    asked.shift()!(views);
    await new Promise(setImmediate);
  };
  /** Of a session that could not be judged when it was first looked at. */
  const secondLook = () => {
    expect(asked).toHaveLength(0);
    jest.runOnlyPendingTimers();
    expect(asked).toHaveLength(1);
  };
  const fail = async (error: Error) => {
    asked.shift()!(Promise.reject(error));
    await new Promise(setImmediate);
  };
  return {
    effects,
    registry,
    ended,
    notice,
    store,
    clock,
    cache,
    asked,
    failed,
    superseded,
    answer,
    fail,
    secondLook,
  };
}

const OLD = '00000000000000aa';
const ELSEWHERE = '00000000000000bb';
const NEW = '00000000000000cc';

test('a session that another gateway took over is ended', async () => {
  const { effects, registry, ended, superseded, answer } = workshop();
  effects.began(loggedIn(OLD), 900);
  superseded();
  await answer(view(ELSEWHERE));
  expect(ended.mock.calls.map(([, , reason]) => reason as string)).toEqual(['superseded']);
  expect(registry.get(7)).toBeUndefined();
});

test('a login that is committed when its connection has gone ends the session that it took over from', async () => {
  const { effects, registry, ended, answer, asked } = workshop();
  const late = { ...loggedIn(NEW), isOpen: false } as Connection;
  effects.began(late, 800);
  expect(asked).toHaveLength(0);
  effects.began(loggedIn(OLD), 900);
  effects.began(late, 1_001);
  await answer(view(NEW));
  expect(ended.mock.calls.map(([session, , reason]) => [(session as Session).id, reason as string])).toEqual([
    [OLD, 'superseded'],
  ]);
  expect(registry.get(7)).toBeUndefined();
});

test('a session that ends while its connection logs in anew takes the connection along only if nothing comes of that', async () => {
  const { effects, ended, superseded, answer, asked } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  superseded();
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
  const [[, stays]] = (connection.sendAway as jest.Mock).mock.calls as [[unknown, () => boolean]];
  expect(stays()).toBe(false);
  connection.session = loggedIn(NEW).session;
  effects.began(connection, 1_001);
  expect([stays(), asked]).toEqual([true, [expect.anything()]]);
  // The database had taken them in the other order.
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(2);
});

test('a downlink password that the session has settled, as the database knows alone, is what it is told under', async () => {
  const { effects, superseded, answer } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  superseded();
  const settled = { ...record, downlinkPassword: Buffer.from('new'), revision: 4 };
  await answer({ ...view(OLD), record: settled });
  const { terminal, signer } = connection.session!;
  expect([terminal, signer.password]).toEqual([settled, settled.downlinkPassword]);
});

test('a session that began while the database was asked is not judged by its older answer', async () => {
  const { effects, registry, ended, clock, superseded, answer, asked } = workshop();
  effects.began(loggedIn(OLD), 900);
  superseded();
  const newer = loggedIn(NEW);
  clock.now = 1_002;
  effects.began(newer, 1_001);
  expect(ended.mock.calls.map(([session]) => (session as Session).id)).toEqual([OLD]);
  await answer(view(ELSEWHERE));
  expect(registry.get(7)).toBe(newer);
  expect(ended).toHaveBeenCalledTimes(1);
  expect(asked).toHaveLength(0);
});

test('likewise where it began on the connection of the older one', async () => {
  const { effects, registry, ended, superseded, answer } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  superseded();
  connection.session = loggedIn(NEW).session;
  effects.began(connection, 1_001);
  await answer(view(ELSEWHERE));
  expect(registry.get(7)).toBe(connection);
  expect(ended).not.toHaveBeenCalled();
});

test('a session is not judged while its connection logs in anew: what the database shows may be that login', async () => {
  const { effects, registry, ended, superseded, answer, secondLook } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  connection.isCommitting = true;
  superseded();
  await answer(view(NEW));
  expect(ended).not.toHaveBeenCalled();
  connection.isCommitting = false;
  connection.session = loggedIn(NEW).session;
  secondLook();
  await answer(view(NEW));
  expect(ended).not.toHaveBeenCalled();
  expect(registry.get(7)).toBe(connection);
});

test('where nothing comes of that login the session is judged afterwards', async () => {
  const { effects, ended, superseded, answer, secondLook } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  connection.isCommitting = true;
  superseded();
  await answer(view(ELSEWHERE));
  connection.isCommitting = false;
  secondLook();
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
});

test.each([
  ['when its terminal was named', 900],
  ['since the very millisecond in which it was named', 1_000],
])('a session whose login was under way %s is judged by a look of its own', async (_, since) => {
  const { effects, ended, superseded, answer, asked } = workshop();
  superseded();
  expect(asked).toHaveLength(0);
  effects.began(loggedIn(OLD), since);
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
});

test('likewise where the answer to its commit takes all the time that it may', async () => {
  const { effects, ended, clock, superseded, answer } = workshop();
  superseded();
  clock.now += TIMEOUT_MS;
  effects.sweep();
  effects.began(loggedIn(OLD), 900);
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
});

test('likewise where more terminals are changed at once than are remembered one by one', async () => {
  const { effects, ended, clock, superseded, answer, asked } = workshop();
  superseded();
  const others = Array.from({ length: 1_000_000 }, (_, n) => ({
    terminalId: 100 + n,
    serial: '',
    action: 'set_contact',
    targeted: false,
  }));
  for (let from = 0; from < others.length; from += 10_000)
    effects.onChanges(others.slice(from, from + 10_000));
  expect((Reflect.get(effects, 'named') as Map<number, number>).size).toBeLessThanOrEqual(100_000);
  effects.began(loggedIn(OLD), 900);
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
  clock.now += 1;
  effects.began(loggedIn(NEW), clock.now);
  expect(asked).toHaveLength(0);
});

test('a session that could not be looked at, as the table was locked, is looked at by the next sweep, and once', async () => {
  const { effects, ended, superseded, answer, fail, asked, failed } = workshop();
  effects.began(loggedIn(OLD), 900);
  superseded();
  const locked = new DatabaseAway('canceling statement due to lock timeout', false);
  await fail(locked);
  expect([failed.mock.calls, asked]).toEqual([[[locked]], []]);
  effects.sweep();
  effects.sweep();
  expect(asked).toHaveLength(1);
  await answer(view(ELSEWHERE));
  expect(ended).toHaveBeenCalledTimes(1);
  effects.sweep();
  expect(asked).toHaveLength(0);
});

test('one whose connection has gone meanwhile is not', async () => {
  const { effects, superseded, fail, asked } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  superseded();
  await fail(new DatabaseAway('canceling statement due to lock timeout', false));
  effects.closed(connection);
  effects.sweep();
  expect(asked).toHaveLength(0);
});

test('an operator’s change forgets the record; a login elsewhere does not, since its commit would notice', () => {
  const { effects, cache, superseded } = workshop();
  cache.set(record);
  superseded();
  expect(cache.get(record.serial)).toBe(record);
  effects.onChanges([{ terminalId: 7, serial: record.serial, action: 'suspend', targeted: false }]);
  expect(cache.get(record.serial)).toBeUndefined();
});

test('a newer login here ends the older session as superseded, once', () => {
  const { effects, registry, ended } = workshop();
  const [older, newer] = [loggedIn(OLD), loggedIn(NEW)];
  effects.began(older, 900);
  effects.began(newer, 1_001);
  effects.began(newer, 1_002);
  expect(ended.mock.calls.map(([session, , reason]) => [(session as Session).id, reason as string])).toEqual([
    [OLD, 'superseded'],
  ]);
  const [[last]] = (older.sendAway as jest.Mock).mock.calls as [[() => Buffer]];
  // DISCONNECT_REASON: a newer login.
  expect(last().toString('hex')).toContain('f040000101');
  effects.closed(older);
  expect(registry.get(7)).toBe(newer);
});

test('a session ends when its time is up, not before, and the database is told', () => {
  const { effects, registry, ended, store, clock } = workshop();
  const connection = loggedIn(OLD);
  connection.session = { ...connection.session!, expiresAt: 2_000 };
  effects.began(connection, 900);
  clock.now = 1_999;
  effects.sweep();
  expect([ended.mock.calls, store.expire.mock.calls]).toEqual([[], []]);
  clock.now = 2_000;
  effects.sweep();
  effects.sweep();
  expect(ended.mock.calls.map(([, , reason]) => reason as string)).toEqual(['expired']);
  expect(store.expire.mock.calls).toEqual([[{ terminalId: 7, sessionId: OLD }]]);
  expect(registry.get(7)).toBeUndefined();
});

test('a session whose connection has gone, or went before its commit was done, is noted as off line', () => {
  const { effects, store } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  effects.closed(connection);
  effects.began({ ...loggedIn(NEW), isOpen: false } as Connection, 900);
  expect(store.detach.mock.calls).toEqual([
    [{ terminalId: 7, sessionId: OLD }],
    [{ terminalId: 7, sessionId: NEW }],
  ]);
});

test('a wish is told once, however often the terminal is looked at, and another one is told again', async () => {
  const { effects, notice, superseded, answer } = workshop();
  const connection = loggedIn(OLD);
  effects.began(connection, 900);
  const wishing = (wished: number, revision: number): FreshView => ({
    ...view(OLD),
    record: { ...record, revision, changes: { ...NO_CHANGES, wished } },
  });
  for (const seen of [wishing(1, 4), wishing(1, 4), wishing(1, 5), wishing(3, 6)]) {
    superseded();
    await answer(seen);
  }
  expect(notice.mock.calls.map(([, , what]) => what as string)).toEqual([
    'wished: uplink',
    'wished: uplink, downlink',
  ]);
  expect((connection.send as jest.Mock).mock.calls).toHaveLength(2);
});
