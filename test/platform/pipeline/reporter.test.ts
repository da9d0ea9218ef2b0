/** What of the answers becomes a log line. */
import type { Decoded } from '../../../src/protocol/decode';
import type { Connection } from '../../../src/platform/listener/connection';
import { LOGIN_KINDS, type Answer } from '../../../src/platform/model';
import type { Log, LogAction, LogFacts } from '../../../src/platform/ops/log';
import { Metrics } from '../../../src/platform/ops/metrics';
import { RollUp } from '../../../src/platform/ops/rollUp';
import { Reporter } from '../../../src/platform/pipeline/reporter';
import { decoyRecord } from '../../../src/platform/flows/decoy';
import type { Attempt, Failures } from '../../../src/platform/store/failures';

const connection = { address: '127.0.0.9', port: 4711 } as Connection;

function loginOf(serial: string, command = 'LOGIN'): Decoded {
  const header = {
    length: 28,
    command: 1,
    sequence: 5,
    version: 0x0400,
    suite: 1,
    result: 0,
    serial: Buffer.alloc(16, 0),
  };
  header.serial.write(serial);
  return {
    header: { ...header, serialText: serial },
    command,
    isResponse: false,
    fields: {},
    digest: undefined,
    covered: Buffer.alloc(0),
  };
}

function bench() {
  const lines: LogFacts[] = [];
  const actions: LogAction[] = [];
  const noted: Attempt[] = [];
  const log: Log = {
    event: (action, facts) => {
      actions.push(action);
      lines.push(facts);
    },
  };
  const junk = new RollUp();
  const sources = { databaseUp: () => false, waitingForDatabase: () => 0, droppedLogLines: () => 0 };
  const metrics = new Metrics(sources);
  const reporter = new Reporter({
    log,
    metrics,
    failures: { note: (attempt: Attempt) => void noted.push(attempt) } as unknown as Failures,
    junk,
    decoy: decoyRecord((size) => Buffer.alloc(size)),
    now: () => 1_000,
    clock: () => 1_000,
  });
  const answered = (serial: string, answer: Answer) =>
    reporter.login(loginOf(serial), connection, 1_000, answer, undefined);
  const proven = (serial: string, answer: Answer) =>
    reporter.login(loginOf(serial, 'AUTH_PROOF'), connection, 1_000, answer, undefined);
  const requested = (command: string, answer: Answer) =>
    reporter.request(loginOf('T1', command), connection, 1_000, answer);
  /** Values of a counter other than 0, by its labels. */
  const counted = async (name: string) => {
    const { values } = await metrics.registry.getSingleMetric(name)!.get();
    return values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [...Object.values(labels), value]);
  };
  return { lines, actions, noted, junk, reporter, answered, proven, requested, counted };
}

test.each([
  ['database-away', 'the database is away: 2 logins were told to come back'],
  ['later-turn', 'more logins than can be worked on: 2 were given a later turn'],
])('a fleet that is told BUSY for %s is a line for the first, and one for the rest', (detail, message) => {
  const { lines, junk, answered } = bench();
  for (const serial of ['T1', 'T2', 'T3']) answered(serial, { result: 'BUSY', detail });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ serial: 'T1', reason: 'busy', detail, message: `T1 refused: ${detail}` });
  junk.stop();
  expect(lines[1]).toEqual({ level: 'warn', outcome: 'failure', reason: 'busy', detail, count: 2, message });
});

test('a terminal whose row is locked has a line of its own', () => {
  const { lines, junk, answered } = bench();
  for (const serial of ['T1', 'T2']) answered(serial, { result: 'BUSY', detail: 'terminal-locked' });
  junk.stop();
  expect(lines.map(({ serial }) => serial)).toEqual(['T1', 'T2']);
});

test('a login that is refused again and again is a line for the first, and one for the rest', () => {
  const { lines, junk, answered } = bench();
  const wrong: Answer = { result: 'AUTH_FAILED', detail: 'wrong-digest' };
  for (let i = 0; i < 5; i++) answered('T1', wrong);
  answered('T2', wrong);
  answered('T1', { result: 'SUSPENDED', detail: 'suspended' });
  expect(lines.map(({ serial, detail }) => [serial, detail])).toEqual([
    ['T1', 'wrong-digest'],
    ['T2', 'wrong-digest'],
    ['T1', 'suspended'],
  ]);
  junk.stop();
  expect(lines.slice(3)).toEqual([{ ...lines[0], count: 4 }]);
});

test('who comes too soon after failed attempts is a line for the first, and one for the rest, of all serials', () => {
  const { lines, junk, answered } = bench();
  for (let i = 0; i < 1_000; i++) answered(`T${i}`, { result: 'THROTTLED', detail: 'failed-attempts' });
  expect(lines).toMatchObject([{ serial: 'T0', reason: 'throttled' }]);
  junk.stop();
  expect(lines.slice(1)).toEqual([
    {
      level: 'warn',
      outcome: 'failure',
      reason: 'throttled',
      detail: 'failed-attempts',
      ip: '127.0.0.9',
      count: 999,
      message: '999 logins from 127.0.0.9 came too soon after failed ones',
    },
  ]);
});

test('a proof that is refused again and again is two lines for the first, and two for the rest', () => {
  const { lines, junk, proven } = bench();
  for (let i = 0; i < 3; i++) proven('T1', { result: 'AUTH_FAILED', detail: 'wrong-digest' });
  expect(lines).toHaveLength(2);
  junk.stop();
  expect(lines.map(({ count }) => count)).toEqual([undefined, undefined, 2, 2]);
});

test('a fault of ours is a line for the first, with its place in the program, and one for the rest', () => {
  const { lines, junk, reporter } = bench();
  for (let i = 0; i < 3; i++)
    reporter.internalError(new TypeError('no such thing'), 'HEARTBEAT', 'T1', connection);
  reporter.internalError('thrown by somebody else', 'LOGIN', 'T1', connection);
  expect(lines.map(({ message, count }) => [message, count])).toEqual([
    ['HEARTBEAT failed inside the gateway', 1],
    ['LOGIN failed inside the gateway', 1],
  ]);
  expect(lines[0]!.error).toMatch(/^TypeError: no such thing at .*reporter\.test\.ts:\d+:\d+\)?$/);
  expect(lines[1]!.error).toBe('thrown by somebody else');
  junk.stop();
  expect(lines.slice(2)).toMatchObject([{ count: 2 }]);
});

test('how long it took: seconds in the histogram, nanoseconds in the log', async () => {
  const { lines, reporter, counted } = bench();
  reporter.login(loginOf('T1'), connection, 750, { result: 'OK' }, undefined);
  expect(lines).toMatchObject([{ duration: 250_000_000, outcome: 'success', level: 'info' }]);
  const buckets = await counted('m2m_login_duration_seconds');
  expect(buckets).toContainEqual([0.25, 1]);
  expect(buckets).not.toContainEqual([0.1, 1]);
});

test('what failed inside is an error', () => {
  const { lines, actions, requested } = bench();
  requested('LOGOUT', { result: 'INTERNAL', detail: 'internal-error' });
  requested('LOGOUT', { result: 'REPLAY', detail: 'frame-taken-before' });
  expect(lines.map(({ level }) => level)).toEqual(['error', 'warn']);
  expect(actions).toEqual(['terminal-logout', 'terminal-logout']);
});

test('challenges that nobody could meet share a line; one that somebody can meet has its own', () => {
  const { lines, actions, junk, requested } = bench();
  for (let n = 0; n < 3; n++) requested('AUTH_CHALLENGE', { result: 'OK', detail: 'unknown-serial' });
  junk.stop();
  expect(lines.map(({ level, count }) => [level, count])).toEqual([
    ['warn', 1],
    ['warn', 2],
  ]);
  requested('AUTH_CHALLENGE', { result: 'OK' });
  requested('HEARTBEAT', { result: 'OK' });
  expect(lines.slice(2).map(({ level, count }) => [level, count])).toEqual([['info', undefined]]);
  expect(new Set(actions)).toEqual(new Set(['mutual-challenge']));
});

test('steps of changes are counted by what became of them', async () => {
  const { requested, counted } = bench();
  for (const result of ['OK', 'WAIT_FOR_SMS', 'CHANGE_REFUSED', 'THROTTLED'] as const)
    requested('CREDENTIAL_CHANGE', { result });
  for (const result of ['OK', 'CHANGE_REFUSED', 'BASE_KEY_MISMATCH', 'REPLAY'] as const)
    requested('CREDENTIAL_CONFIRM', { result });
  expect(await counted('m2m_credential_changes_total')).toEqual([
    ['ciphertext', 1],
    ['sms', 1],
    ['refused', 3],
    ['confirmed', 1],
  ]);
});

test('a frame that names no command is counted as unknown', async () => {
  const { reporter, counted } = bench();
  reporter.fault(undefined, 'MALFORMED', 'offset 2', connection);
  reporter.fault('HEARTBEAT', 'MALFORMED', 'offset 28', connection);
  expect(await counted('m2m_frames_total')).toEqual([
    ['unknown', 'malformed', 1],
    ['HEARTBEAT', 'malformed', 1],
  ]);
});

test('a failure is noted with what did not fit: of terminals, and of serials that nobody has', () => {
  const { noted, reporter, answered } = bench();
  const record = decoyRecord((size) => Buffer.alloc(size, 1));
  const claims = (answer: Answer, kind = 'LOGIN') => {
    const message = { ...loginOf('T1', kind), fields: { imei: record.imei, imsi: '460001234567890' } };
    reporter.login(message, connection, 1_000, answer, { record, row: undefined });
    return noted.at(-1)!.claims;
  };
  expect(claims({ result: 'BINDING_MISMATCH', detail: 'other-imsi' })).toEqual({ imsi: '460001234567890' });
  const weaker = { result: 'AUTH_FAILED', detail: 'below-least-login' } as const;
  expect(claims(weaker)).toEqual({ login: 'md5', least_login: record.leastLogin });
  expect(claims({ result: 'SUSPENDED', detail: 'suspended' })).toEqual({});
  answered('T2', { result: 'AUTH_FAILED', detail: 'unknown-serial' });
  answered('T2', { result: 'OK' });
  answered('T2', { result: 'BUSY', detail: 'later-turn' });
  expect(noted.map(({ serial, known, reason }) => [serial, known, reason])).toEqual([
    ['T1', true, 'other-imsi'],
    ['T1', true, 'below-least-login'],
    ['T1', true, 'suspended'],
    ['T2', false, 'unknown-serial'],
  ]);
  expect(noted[3]!.suspect).toBeDefined();
});

test('a terminal that does not exist may log in any way: no rule ends sooner for it than for others', () => {
  expect(decoyRecord((size) => Buffer.alloc(size)).leastLogin).toBe(LOGIN_KINDS[0]);
});
