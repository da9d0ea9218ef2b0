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

test('a terminal that cannot be read any more is sent away', () => {
  expect(effectOn(session, undefined)).toEqual({
    kind: 'end',
    reason: 'identity-changed',
    cause: 'identity-changed',
  });
});
