/** What of the answers becomes a log line. */
import type { Decoded } from '../../../src/protocol/decode';
import type { Connection } from '../../../src/platform/listener/connection';
import type { Answer } from '../../../src/platform/model';
import type { Log, LogFacts } from '../../../src/platform/ops/log';
import { Metrics } from '../../../src/platform/ops/metrics';
import { RollUp } from '../../../src/platform/ops/rollUp';
import { Reporter } from '../../../src/platform/pipeline/reporter';
import { decoyRecord } from '../../../src/platform/flows/decoy';
import type { Failures } from '../../../src/platform/store/failures';

const connection = { address: '127.0.0.9', port: 4711 } as Connection;

function loginOf(serial: string, command: 'LOGIN' | 'AUTH_PROOF' = 'LOGIN'): Decoded {
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
  const log: Log = { event: (_action, facts) => void lines.push(facts) };
  const junk = new RollUp();
  const sources = { databaseUp: () => false, waitingForDatabase: () => 0, droppedLogLines: () => 0 };
  const reporter = new Reporter({
    log,
    metrics: new Metrics(sources),
    failures: { note: () => undefined } as unknown as Failures,
    junk,
    decoy: decoyRecord((size) => Buffer.alloc(size)),
    now: () => 1_000,
    clock: () => 1_000,
  });
  const answered = (serial: string, answer: Answer) =>
    reporter.login(loginOf(serial), connection, 1_000, answer, undefined);
  const proven = (serial: string, answer: Answer) =>
    reporter.login(loginOf(serial, 'AUTH_PROOF'), connection, 1_000, answer, undefined);
  return { lines, junk, answered, proven, reporter };
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
