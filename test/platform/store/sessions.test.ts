/** Sessions of many terminals at once: what happens to all of them together takes a few statements, not one each. */
import { randomBytes } from 'node:crypto';
import { keyRing } from '../../../src/crypto/sealing';
import { replayCutoff, replayEntry } from '../../../src/platform/flows/replay';
import type { CredentialWrite, LoginWrite } from '../../../src/platform/model';
import { Database, DatabaseAway } from '../../../src/platform/store/database';
import { Sessions } from '../../../src/platform/store/sessions';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const FLEET = 300;
/** The first leaves alone; those that came meanwhile share the others. */
const FEW = 3;
const ring = keyRing([{ id: '00112233', key: Buffer.alloc(32, 7) }]);

let fixture: Fixture;
let database: Database;
let sessions: Sessions;
let fleet: LoginWrite[];
let statements: jest.SpyInstance;

beforeAll(async () => {
  fixture = await openFixture();
  for (let n = 0; n < FLEET; n++) await provision(fixture.client);
  database = new Database(fixture.url, 4, NO_EVENTS, PATIENCE_MS);
  // Connected, with the server's clock read.
  await database.query({ text: 'SELECT' });
  statements = jest.spyOn(database, 'query');
});

afterAll(async () => {
  await database.close();
  await fixture.close();
});

beforeEach(async () => {
  const cutoff = () => replayCutoff(Date.now(), 300);
  sessions = new Sessions({ database, ring: () => ring, instance: () => 7, sessionTtl: 60, cutoff });
  const { rows } = await fixture.client.query<{ id: number; serial: string; revision: number }>(
    'SELECT t.id::int, t.serial, s.revision FROM m2m.terminal AS t JOIN m2m.session AS s ON s.terminal_id = t.id ORDER BY 1',
  );
  fleet = rows.map(({ id, ...row }) => ({
    ...row,
    terminalId: id,
    sessionId: randomBytes(8).toString('hex'),
    login: 'hmac',
    sessionKey: randomBytes(16),
    replayEntry: replayEntry(Math.floor(Date.now() / 1000), randomBytes(32)),
    address: '127.0.0.1',
    credentials: undefined,
  }));
  statements.mockClear();
  const outcomes = await Promise.all(fleet.map((write) => sessions.login(write)));
  expect(outcomes.every(({ committed }) => committed)).toBe(true);
  expect(statements.mock.calls.length).toBeLessThanOrEqual(FEW);
  statements.mockClear();
});

const counted = async (where: string) =>
  (await fixture.client.query(`SELECT FROM m2m.session WHERE ${where}`)).rowCount;

test('a fleet whose time is up: ended, each but those that are others by now', async () => {
  const [first, ...rest] = fleet as [LoginWrite, ...LoginWrite[]];
  await Promise.all([
    sessions.expire({ ...first, sessionId: '00000000000000ff' }),
    ...rest.map((one) => sessions.expire(one)),
  ]);
  expect(statements.mock.calls.length).toBeLessThanOrEqual(FEW);
  expect(await counted(`session_id IS NULL AND session_key IS NULL AND end_reason = 'expired'`)).toBe(
    FLEET - 1,
  );
  expect(await counted('session_id IS NOT NULL AND connected')).toBe(1);
});

test('a fleet whose connections are gone: noted, and the sessions stand', async () => {
  await Promise.all(fleet.map((one) => sessions.detach(one)));
  expect(statements.mock.calls.length).toBeLessThanOrEqual(FEW);
  expect(await counted('session_id IS NOT NULL AND NOT connected')).toBe(FLEET);
});

test('a connection that went while somebody held the row is noted once he lets go; one that was replaced is not', async () => {
  const [held, replaced] = fleet as [LoginWrite, LoginWrite];
  const operator = await fixture.open();
  await operator.query('BEGIN');
  await operator.query('SELECT FROM m2m.session WHERE terminal_id = ANY ($1) FOR UPDATE', [
    [held.terminalId, replaced.terminalId],
  ]);
  await Promise.all(fleet.map((one) => sessions.detach(one)));
  expect(await counted('connected')).toBe(2);
  await sessions.detachLeft();
  expect(await counted('connected')).toBe(2);
  await operator.query(`UPDATE m2m.session SET session_id = '\\x00000000000000ff' WHERE terminal_id = $1`, [
    replaced.terminalId,
  ]);
  await operator.query('COMMIT');
  await sessions.detachLeft();
  expect(await counted('connected')).toBe(1);
  statements.mockClear();
  await sessions.detachLeft();
  expect(statements).not.toHaveBeenCalled();
});

test('connections that went while the database was away are noted when it is back', async () => {
  statements.mockRejectedValue(new DatabaseAway('away', false));
  const told = await Promise.allSettled(fleet.map((one) => sessions.detach(one)));
  expect(told.every(({ status }) => status === 'rejected')).toBe(true);
  statements.mockRestore();
  statements = jest.spyOn(database, 'query');
  expect(await counted('connected')).toBe(FLEET);
  await sessions.detachLeft();
  expect(statements.mock.calls.length).toBeLessThanOrEqual(FEW);
  expect(await counted('connected')).toBe(0);
});

test('a statement that writes secrets and fails takes none of those along that left beside it', async () => {
  const next = fleet.map((write, n) => ({
    ...write,
    sessionId: randomBytes(8).toString('hex'),
    replayEntry: replayEntry(Math.floor(Date.now() / 1000), randomBytes(32)),
    credentials: n === 1 ? ({} as CredentialWrite) : undefined,
  }));
  statements.mockRestore();
  const query = database.query.bind(database);
  const locked = new DatabaseAway('canceling statement due to lock timeout', false);
  statements = jest
    .spyOn(database, 'query')
    .mockImplementation((statement) =>
      statement.name === 'login-secrets' ? Promise.reject(locked) : query(statement),
    );
  const told = await Promise.allSettled(next.map((write) => sessions.login(write)));
  const reasons = told.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
  expect(reasons).toEqual([locked]);
  const committed = told.filter(({ status }) => status === 'fulfilled').length;
  expect([committed, await counted(`session_id = '\\x${next[1]!.sessionId}'`)]).toEqual([FLEET - 1, 0]);
});
