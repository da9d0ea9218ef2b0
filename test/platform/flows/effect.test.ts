import { effectOn } from '../../../src/platform/flows/effect';
import { NO_CHANGES, type Session, type SessionRow, type TerminalRecord } from '../../../src/platform/model';

const record: TerminalRecord = {
  id: 1,
  serial: 'T1',
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
const session: Session = {
  id: '0011223344556677',
  login: 'md5',
  signer: { suite: 1, password: Buffer.from('down'), imei: record.imei, imsi: record.imsi },
  expiresAt: 0,
  terminal: record,
  lastSequence: 1,
  told: 0,
};
const row = (sessionId: string | undefined, endReason?: string): SessionRow => ({
  sessionId,
  endReason,
  logins: [],
  requests: [],
});

test.each([
  ['nothing changed', record, row(session.id), { kind: 'none' }],
  [
    'another session stands',
    record,
    row('ffffffffffffffff'),
    { kind: 'end', reason: 'superseded', cause: 'superseded' },
  ],
  [
    'suspended',
    record,
    row(undefined, 'suspended'),
    { kind: 'end', reason: 'suspended', cause: 'suspended' },
  ],
  [
    'rebound',
    record,
    row(undefined, 'identity-changed'),
    { kind: 'end', reason: 'identity-changed', cause: 'identity-changed' },
  ],
  [
    'disconnected',
    record,
    row(undefined, 'disconnected'),
    { kind: 'end', reason: 'expired', cause: 'disconnected' },
  ],
  ['time up', record, row(undefined, 'expired'), { kind: 'end', reason: 'expired', cause: 'expired' }],
  [
    'logged out of a newer one',
    record,
    row(undefined, 'logout'),
    { kind: 'end', reason: 'superseded', cause: 'superseded' },
  ],
])('%s', (_name, current, sessionRow, effect) => {
  expect(effectOn(session, { record: current, row: sessionRow })).toEqual(effect);
});

test('a newer record is what the session is judged by from now on', () => {
  const newer = { ...record, revision: 4 };
  expect(effectOn(session, { record: newer, row: row(session.id) })).toEqual({
    kind: 'refresh',
    record: newer,
    notice: 0,
  });
});

test('an older record, or the one that it has, changes nothing', () => {
  for (const revision of [2, 3]) {
    const read = { ...record, revision, status: 'suspended' as const };
    expect(effectOn(session, { record: read, row: row(session.id) })).toEqual({ kind: 'none' });
  }
});

test.each([
  ['a wish', 0, 5, 5],
  ['another wish', 5, 2, 2],
  ['the same wish', 5, 5, 0],
  ['a wish taken back', 5, 0, 0],
])('%s: of %d, now %d, the terminal is told %d', (_name, before, wished, notice) => {
  const wishing = (mask: number, revision: number) => ({
    ...{ ...record, revision, changes: { ...NO_CHANGES, wished: mask } },
  });
  const held = { ...session, terminal: wishing(before, 3), told: before };
  const now = { record: wishing(wished, 4), row: row(session.id) };
  expect(effectOn(held, now)).toMatchObject({ kind: 'refresh', notice });
  // A request of the session may have read it first.
  for (const revision of [3, 4, 5]) {
    const ahead = { ...session, terminal: wishing(wished, revision), told: before };
    const seen = { record: wishing(revision === 5 ? before : wished, 4), row: row(session.id) };
    const same = revision !== 3 && before === wished;
    expect(effectOn(ahead, seen)).toMatchObject(same ? { kind: 'none' } : { kind: 'refresh', notice });
  }
});

const away = { kind: 'end', reason: 'identity-changed', cause: 'identity-changed' };

test.each([
  ['the terminal', undefined],
  ['its session row', { record, row: undefined }],
])('sent away where %s cannot be read any more', (_name, view) => {
  expect(effectOn(session, view)).toEqual(away);
});

test.each([undefined, 'something newer'])('ended for the reason %p: its time is up', (endReason) => {
  const ended = { kind: 'end', reason: 'expired', cause: 'expired' };
  expect(effectOn(session, { record, row: row(undefined, endReason) })).toEqual(ended);
});

test('WMMP: a LOGOUT of its own, whose answer was lost, may still come again', () => {
  const wmmp = { version: 0x0300, timestamp: 1, sessionKey: undefined, unsettled: 0, asked: undefined };
  const on = (leaving: boolean, endReason: string) =>
    effectOn(
      { ...session, wmmp: { ...wmmp, wish: 'open', leaving } },
      { record, row: row(undefined, endReason) },
    );
  expect(on(true, 'logout')).toEqual({ kind: 'none' });
  expect(on(false, 'logout')).toMatchObject({ kind: 'end', reason: 'superseded' });
  expect(on(true, 'suspended')).toMatchObject({ kind: 'end', reason: 'suspended' });
});
