/** What a commit checks again: each thing that no longer holds, and it writes nothing. */
import { randomBytes } from 'node:crypto';
import { keyRing, unseal } from '../../../src/crypto/sealing';
import { LOGINS_KEPT, replayCutoff, replayEntry, REQUESTS_KEPT } from '../../../src/platform/flows/replay';
import type { LoginWrite, SessionWrite } from '../../../src/platform/model';
import { Database } from '../../../src/platform/store/database';
import { Sessions } from '../../../src/platform/store/sessions';
import { NO_EVENTS, openFixture, provision, sessionOf, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const ring = keyRing([{ id: '00112233', key: Buffer.alloc(32, 7) }]);
const at = Math.floor(Date.now() / 1000);
const entry = (time = at) => replayEntry(time, randomBytes(32));

let fixture: Fixture;
let database: Database;
let here: Sessions;
let there: Sessions;
let login: LoginWrite;
let change: SessionWrite;

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 4, NO_EVENTS, PATIENCE_MS);
  const cutoff = () => replayCutoff(at * 1000, 300);
  const made = (instance: number) =>
    new Sessions({ database, ring: () => ring, instance: () => instance, sessionTtl: 600, cutoff });
  [here, there] = [made(7), made(8)];
});
afterAll(async () => {
  await database.close();
  await fixture.close();
});

beforeEach(async () => {
  const { serial } = await provision(fixture.client);
  const { rows } = await fixture.client.query<{ id: number; revision: number }>(
    'SELECT t.id::int, s.revision FROM m2m.terminal AS t JOIN m2m.session AS s ON s.terminal_id = t.id WHERE serial = $1',
    [serial],
  );
  const { id: terminalId, revision } = rows[0]!;
  const shared = { terminalId, serial, revision, sessionKey: undefined, credentials: undefined };
  const sessionId = randomBytes(8).toString('hex');
  login = { ...shared, sessionId, login: 'md5', replayEntry: entry(), address: '192.0.2.1' };
  change = { ...shared, sessionId, kind: 'session-key', replayEntry: entry(), sessionKey: randomBytes(16) };
});

const row = () => sessionOf(fixture.client, login.serial);
const logIn = async (extra: Partial<LoginWrite> = {}, by = here) =>
  (await by.login({ ...login, replayEntry: entry(), ...extra })).committed;
const ask = async (extra: Partial<SessionWrite> = {}) =>
  (await here.change({ ...change, replayEntry: entry(), ...extra })).committed;
const taken = (column: 'logins' | 'requests', entries: string[]) =>
  fixture.client.query(`UPDATE m2m.session SET ${column} = $2 WHERE terminal_id = $1`, [
    login.terminalId,
    entries,
  ]);
/** An operator changes something. */
const touch = () =>
  fixture.client.query('UPDATE m2m.session SET revision = revision + 1 WHERE terminal_id = $1', [
    login.terminalId,
  ]);
/** The next statement comes when it was given up already. */
function late(): void {
  const query = database.query.bind(database);
  jest
    .spyOn(database, 'query')
    .mockImplementationOnce(({ valuesOf, ...statement }) =>
      query({ ...statement, values: valuesOf!(Date.now() / 1000 - 3600) }),
    );
}

test.each<[string, () => unknown, Partial<LoginWrite>]>([
  ['of an older revision', touch, {}],
  ['that comes late', late, {}],
  [
    'with as many as may be kept',
    () =>
      taken(
        'logins',
        Array.from({ length: LOGINS_KEPT }, () => entry()),
      ),
    {},
  ],
])('a login %s is not committed, and nothing is written', async (_, prepare, extra) => {
  await prepare();
  const before = await row();
  expect(await logIn(extra)).toBe(false);
  expect(await row()).toEqual(before);
});

test('a login is committed once, and room is made by those that could not come again', async () => {
  const same = { replayEntry: entry() };
  expect([await logIn(same), await logIn(same)]).toEqual([true, false]);
  const old = entry(at - 10_000);
  await taken('logins', [old, ...Array.from({ length: LOGINS_KEPT - 1 }, () => entry())]);
  expect(await logIn()).toBe(true);
  const { rows } = await fixture.client.query<{ kept: number; old: boolean }>(
    'SELECT cardinality(logins) AS kept, $2::uuid = ANY (logins) AS old FROM m2m.session WHERE terminal_id = $1',
    [login.terminalId, old],
  );
  expect(rows).toEqual([{ kept: LOGINS_KEPT, old: false }]);
  expect(await logIn()).toBe(false);
});

test.each<[string, () => unknown, Partial<SessionWrite>]>([
  ['of an older revision', touch, {}],
  ['of another session', () => undefined, { sessionId: '00000000000000ff' }],
  ['that comes late', late, {}],
  [
    'with as many as may be kept',
    () =>
      taken(
        'requests',
        Array.from({ length: REQUESTS_KEPT }, () => entry()),
      ),
    {},
  ],
])('a request %s is not committed, and nothing is written', async (_, prepare, extra) => {
  await logIn();
  await prepare();
  const before = await row();
  expect(await ask(extra)).toBe(false);
  expect(await row()).toEqual(before);
});

test('a request is committed once; a new key replaces the old one, and goes with the session', async () => {
  await logIn({ sessionKey: Buffer.alloc(16, 1) });
  const same = { replayEntry: entry() };
  expect([await ask(same), await ask(same)]).toEqual([true, false]);
  const { session_key: stored } = await row();
  expect(unseal(ring, 'session_key', login.serial, stored!)).toEqual(change.sessionKey);
  expect(await ask({ kind: 'logout', sessionKey: undefined })).toBe(true);
  expect(await row()).toMatchObject({
    ...{ session_id: null, session_key: null, connected: false, end_reason: 'logout' },
  });
});

test('a login without a key leaves none of the session before', async () => {
  await logIn({ sessionKey: Buffer.alloc(16, 1) });
  await logIn({ sessionId: '00000000000000ee' });
  expect((await row()).session_key).toBeNull();
});

test('who takes over from a living process tells it; from himself, from the dead, or off line: nobody', async () => {
  const told = async () => {
    const { rows } = await fixture.client.query<{ instance: string }>(
      `SELECT instance FROM m2m.change WHERE serial = $1 AND action = 'session-superseded'`,
      [login.serial],
    );
    return rows.map(({ instance }) => Number(instance));
  };
  const seen = (ago: string) =>
    fixture.client.query(
      `INSERT INTO m2m.instance (id, gateway, listen, seen_at) OVERRIDING SYSTEM VALUE
       VALUES (7, 'here', '', now() - $1::interval) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`,
      [ago],
    );
  await seen('1 hour');
  await logIn();
  await logIn({ sessionId: '00000000000000e1' });
  await logIn({ sessionId: '00000000000000e2' }, there);
  expect(await told()).toEqual([]);
  await seen('0 s');
  await logIn({ sessionId: '00000000000000e0' });
  await logIn({ sessionId: '00000000000000e3' });
  await here.detach({ terminalId: login.terminalId, sessionId: '00000000000000e3' });
  await logIn({ sessionId: '00000000000000e4' }, there);
  expect(await told()).toEqual([]);
  await logIn({ sessionId: '00000000000000e5' });
  await logIn({ sessionId: '00000000000000e6' }, there);
  expect(await told()).toEqual([7]);
});
