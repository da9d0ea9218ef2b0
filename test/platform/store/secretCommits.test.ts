/** What a commit that changes secrets leaves in the rows of credentials and texts. */
import { randomBytes } from 'node:crypto';
import { keyRing, seal, unseal } from '../../../src/crypto/sealing';
import { decoyRecord } from '../../../src/platform/flows/decoy';
import { replayCutoff, replayEntry } from '../../../src/platform/flows/replay';
import type { CredentialWrite, LoginWrite, PendingChange } from '../../../src/platform/model';
import { Database } from '../../../src/platform/store/database';
import { Sessions } from '../../../src/platform/store/sessions';
import { NO_EVENTS, openFixture, provision, type Fixture } from './sqlFixture';

const PATIENCE_MS = 120_000;
const ring = keyRing([{ id: '00112233', key: Buffer.alloc(32, 7) }]);
const at = Math.floor(Date.now() / 1000);

let fixture: Fixture;
let database: Database;
let sessions: Sessions;
let serial: string;
let terminalId: number;
let revision: number;

beforeAll(async () => {
  fixture = await openFixture();
  database = new Database(fixture.url, 4, NO_EVENTS, PATIENCE_MS);
  const cutoff = () => replayCutoff(at * 1000, 300);
  sessions = new Sessions({ database, ring: () => ring, instance: () => 7, sessionTtl: 600, cutoff });
});
afterAll(async () => {
  await database.close();
  await fixture.close();
});

beforeEach(async () => {
  ({ serial } = await provision(fixture.client, { uplink_password: Buffer.from('as it came') }));
  const { rows } = await fixture.client.query<{ id: number; revision: number }>(
    'SELECT t.id::int, s.revision FROM m2m.terminal AS t JOIN m2m.session AS s ON s.terminal_id = t.id WHERE serial = $1',
    [serial],
  );
  ({ id: terminalId, revision } = rows[0]!);
});

async function commit(credentials: Partial<CredentialWrite>, pending?: Partial<PendingChange>) {
  const decoy = { ...decoyRecord((size) => randomBytes(size)), id: terminalId, serial, revision };
  const none = { targets: 1, settled: 0, bySms: true, shown: 'never', textAt: at * 1000 } as const;
  const values = { uplinkPassword: randomBytes(16), downlinkPassword: undefined, baseKey: undefined };
  const changes = { ...decoy.changes, pending: pending && { id: 1, ...none, ...values, ...pending } };
  const write: LoginWrite = {
    ...{ terminalId, serial, revision, login: 'md5', sessionKey: undefined, address: '192.0.2.1' },
    sessionId: randomBytes(8).toString('hex'),
    replayEntry: replayEntry(at, randomBytes(32)),
    credentials: { settled: 0, text: undefined, record: { ...decoy, changes }, ...credentials },
  };
  const { committed } = await sessions.login(write);
  if (committed) revision++;
  return { committed, record: write.credentials!.record };
}

async function replaced(): Promise<{ current: Buffer; before: Buffer | null; dated: boolean }> {
  const { rows } = await fixture.client.query<{ current: Buffer; before: Buffer | null; dated: boolean }>(
    `SELECT uplink_password AS current, replaced_uplink_password AS before, replaced_at IS NOT NULL AS dated
     FROM m2m.credential WHERE terminal_id = $1`,
    [terminalId],
  );
  return rows[0]!;
}

test('of a replaced password only a sealed one is kept: a plain one would stay plain', async () => {
  const first = await commit({ settled: 1 });
  expect(await replaced()).toMatchObject({ before: null, dated: false });
  await commit({ settled: 1 });
  const { before, dated } = await replaced();
  expect(unseal(ring, 'uplink_password', serial, before!)).toEqual(first.record.uplinkPassword);
  expect(dated).toBe(true);
  // Another secret alone leaves it.
  await commit({ settled: 2 });
  expect((await replaced()).before).toEqual(before);
});

const write = (status: string, changeId: number) =>
  fixture.client.query(
    `INSERT INTO m2m.sms_outbox (terminal_id, serial, change_id, msisdn, text, opened, status)
     VALUES ($1, $2, $3, '+4912345678', $4, 'M2M', $5)`,
    [terminalId, serial, changeId, seal(ring, 'sms_text', serial, Buffer.from('M2M')), status],
  );
async function texts(): Promise<string[]> {
  const { rows } = await fixture.client.query<{ told: string }>(
    `SELECT concat_ws(' ', change_id, status, CASE WHEN text IS NOT NULL THEN 'held' END,
       CASE WHEN opened IS NOT NULL THEN 'open' END) AS told
     FROM m2m.sms_outbox WHERE terminal_id = $1 ORDER BY id`,
    [terminalId],
  );
  return rows.map(({ told }) => told);
}

test.each([
  ['the same change, and no text of its own', 1, undefined, ['1 waiting held open', '1 sent held open']],
  [
    'the same change once more',
    1,
    { msisdn: '+4912345678', text: 'M2M' },
    ['1 void', '1 sent', '1 waiting held'],
  ],
  ['another change', 2, undefined, ['1 void', '1 sent']],
])('texts on their way, overtaken by %s', async (_, id, text, left) => {
  await write('waiting', 1);
  await write('sent', 1);
  expect((await commit({ text }, { id })).committed).toBe(true);
  expect(await texts()).toEqual(left);
});

test('whose credentials an operator holds is passed over, with nothing written', async () => {
  await fixture.client.query('BEGIN');
  try {
    await fixture.client.query('SELECT FROM m2m.credential WHERE terminal_id = $1 FOR UPDATE', [terminalId]);
    expect((await commit({ settled: 1 })).committed).toBe(false);
  } finally {
    await fixture.client.query('ROLLBACK');
  }
  expect(await replaced()).toMatchObject({ current: Buffer.from('\0as it came') });
  expect((await commit({ settled: 1 })).committed).toBe(true);
});
