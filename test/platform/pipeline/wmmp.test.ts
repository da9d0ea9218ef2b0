/** Frames of WMMP 3.0 between connection and database: what stands when an answer is lost, late, or out of place. */
import { Admission } from '../../../src/platform/flows/admission';
import { effectOn } from '../../../src/platform/flows/effect';
import { Throttle } from '../../../src/platform/flows/throttle';
import type { Connection } from '../../../src/platform/listener/connection';
import type { Session, TerminalRecord } from '../../../src/platform/model';
import type { PipelineContext } from '../../../src/platform/pipeline/context';
import type { Reporter } from '../../../src/platform/pipeline/reporter';
import { WmmpPipeline } from '../../../src/platform/pipeline/wmmp';
import { DatabaseAway } from '../../../src/platform/store/database';
import { Strangers } from '../../../src/platform/store/strangers';
import { readHeader } from '../../../src/protocol/header';
import { newTerminal } from '../../support/operator';
import { AROUND, recordOf, sessionOf } from '../../support/rooms';
import { securityConfigAnswer, wmmpHeartbeat, wmmpLogin, wmmpLogout } from '../../support/wmmpOracle';

const ARRIVED = 5_000;
const REFUSAL_DELAY = 50;
const SECONDS = AROUND.now / 1000;
const device = { ...newTerminal(), baseKey: Buffer.alloc(24, 0x11) };

/** A module on its connection; the database says yes until a test makes it say something else. */
function workshop(record: TerminalRecord = recordOf(device), session?: Session) {
  const told = {
    ...{ login: jest.fn(), request: jest.fn(), credentials: jest.fn() },
    ...{ dropped: jest.fn(), internalError: jest.fn() },
  };
  const connection = {
    ...{ session, serial: session && device.serial, hasLoggedIn: session !== undefined },
    ...{ isCommitting: false, later: jest.fn(), begin: jest.fn(), source: '192.0.2.1', address: '192.0.2.1' },
  };
  const committed = () => Promise.resolve({ committed: true, tookOver: false });
  const store = {
    ...{ available: () => true, lookupTime: 0, login: jest.fn(committed), change: jest.fn(committed) },
    find: () => Promise.resolve({ record, row: undefined }),
  };
  const throttle = new Throttle();
  const context = {
    ...{ store, throttle, strangers: new Strangers(), admission: new Admission(2_000, () => 0) },
    ...{ cache: { get: () => record, set: () => undefined }, registry: { release: jest.fn() } },
    ...{ now: () => ARRIVED, around: () => AROUND, sessionBegan: jest.fn(), retryAfter: () => 1_000 },
  };
  const pipeline = new WmmpPipeline(
    context as unknown as PipelineContext,
    told as unknown as Reporter,
    REFUSAL_DELAY,
  );
  const handle = (frame: Buffer) =>
    pipeline.handle(readHeader(frame), frame, connection as unknown as Connection, ARRIVED);
  return { told, connection, store, throttle, handle };
}

const standing = (record = recordOf(device)) => sessionOf(record, { wmmp: SECONDS });

test('an answer to a SECURITY_CONFIG that was not sent is dropped; the one that was is still waited for', () => {
  const session = standing();
  session.wmmp!.asked = 9;
  const { told, handle } = workshop(undefined, session);
  void handle(securityConfigAnswer(device, SECONDS, 8));
  expect([told.dropped.mock.calls.length, told.credentials.mock.calls.length]).toEqual([1, 0]);
  expect(session.wmmp!.asked).toBe(9);
  void handle(securityConfigAnswer(device, SECONDS, 9));
  expect([told.dropped.mock.calls.length, told.credentials.mock.calls.length]).toEqual([1, 1]);
  void handle(securityConfigAnswer(device, SECONDS, 9));
  expect([told.dropped.mock.calls.length, told.credentials.mock.calls.length]).toEqual([2, 1]);
});

test('a LOGOUT of which nobody knows what became ends nothing, until it comes again', async () => {
  const session = standing();
  const { connection, store, handle } = workshop(undefined, session);
  store.change.mockRejectedValueOnce(new DatabaseAway('cut off', true));
  const frame = wmmpLogout(device, SECONDS);
  expect(await handle(frame)).toEqual({ patience: ARRIVED + 20_000 });
  expect(connection.session).toBe(session);
  // It was committed after all.
  const row = { sessionId: undefined, endReason: 'logout', logins: [], requests: [] };
  expect(effectOn(session, { record: session.terminal, row })).toEqual({ kind: 'none' });
  expect(await handle(frame)).toMatchObject({ close: true });
  expect(connection.session).toBeUndefined();
});

test('whoever is told nothing is waited for, but not who fails too often; a refusal leaves at its time', async () => {
  const { store, throttle, handle } = workshop();
  store.login.mockRejectedValueOnce(new DatabaseAway('away', false));
  expect(await handle(wmmpLogin(device))).toEqual({ patience: ARRIVED + 20_000 });
  expect(await handle(wmmpLogin(device, { password: Buffer.from('wrong') }))).toMatchObject({
    every: REFUSAL_DELAY,
  });
  jest.spyOn(throttle, 'enter').mockReturnValue(60_000);
  expect(await handle(wmmpLogin(device, { sequence: 2 }))).toEqual({});
});

test('new values are owed to who may log in by WMMP 3.0, and to nobody else', () => {
  const wishing = recordOf(device, { changes: { ...recordOf(device).changes, wished: 1 } });
  for (const [leastLogin, offers] of [
    ['wmmp3', 1],
    ['md5', 0],
    ['hmac', 0],
    ['mutual', 0],
  ] as const) {
    const record = { ...wishing, leastLogin };
    const { connection, handle } = workshop(record, standing(record));
    void handle(wmmpHeartbeat(device));
    expect(connection.later).toHaveBeenCalledTimes(offers);
  }
});

test('while a login is on its way into the database, its connection says so', async () => {
  const { connection, store, handle } = workshop();
  const seen: boolean[] = [];
  const look = () => {
    seen.push(connection.isCommitting);
    return Promise.resolve({ committed: true, tookOver: false });
  };
  store.login.mockImplementationOnce(look);
  await handle(wmmpLogin(device));
  store.login.mockRejectedValueOnce(new DatabaseAway('away', false));
  await handle(wmmpLogin(device, { sequence: 2 }));
  expect([...seen, connection.isCommitting]).toEqual([true, false]);
});
