import { DatabaseError } from 'pg';
import {
  isAway,
  isCrowded,
  isLocked,
  isMisfit,
  isTransient,
  isUnsure,
} from '../../../src/platform/store/databaseErrors';

function fromServer(code: string, severity = 'ERROR'): DatabaseError {
  return Object.assign(new DatabaseError('of a server', 10, 'error'), { code, severity });
}

const fromNode = (code: string) => Object.assign(new Error(`connect ${code}`), { code });

function kindOf(error: unknown): string {
  const kinds = { away: isAway, transient: isTransient, locked: isLocked, misfit: isMisfit };
  const held = Object.entries(kinds).filter(([, isOfKind]) => isOfKind(error));
  return held.map(([kind]) => kind).join() || 'bug';
}

test.each([
  ['08000', 'away'], // connection exception
  ['08006', 'away'],
  ['08P01', 'away'], // protocol violation: what is between us and the server
  ['53000', 'away'],
  ['53100', 'away'], // disk full
  ['53200', 'away'], // out of memory
  ['53300', 'away'], // too many connections
  ['57014', 'away'], // statement timeout
  ['57P01', 'away'], // admin shutdown
  ['57P02', 'away'], // crash shutdown
  ['57P03', 'away'], // starting up
  ['57P04', 'away'], // database dropped
  ['57P05', 'away'], // idle session timeout
  ['58000', 'away'],
  ['58030', 'away'], // I/O error
  ['25006', 'away'], // read-only
  ['28000', 'away'], // no line in pg_hba.conf
  ['28P01', 'away'], // password
  ['3D000', 'away'], // no such database
  ['40001', 'transient'],
  ['40P01', 'transient'],
  ['55P03', 'locked'], // lock timeout
  ['3F000', 'misfit'], // no such schema
  ['42P01', 'misfit'], // no such table
  ['42703', 'misfit'], // no such column
  ['42883', 'misfit'], // no such function
  ['42501', 'misfit'], // permission denied
  ['22P02', 'bug'],
  ['23505', 'bug'],
  ['57000', 'bug'],
  ['XX000', 'bug'],
])('the server says %s: %s', (code, kind) => {
  expect(kindOf(fromServer(code))).toBe(kind);
});

test.each([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
])('a connection ends with %s: away', (code) => {
  expect(kindOf(fromNode(code))).toBe('away');
});

test.each([
  'Query read timeout',
  'timeout expired',
  'timeout exceeded when trying to connect',
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Client was closed and is not queryable',
  'Client has encountered a connection error and is not queryable',
  'Cannot use a pool after calling end on the pool',
])('the client library says "%s": away', (message) => {
  expect(kindOf(new Error(message))).toBe('away');
});

test.each([
  new TypeError('timeout is not a function'),
  fromNode('ERR_INVALID_ARG_TYPE'),
  'ECONNRESET',
  undefined,
])('%s is a bug', (error) => {
  expect(kindOf(error)).toBe('bug');
});

test('a statement that the server refuses has had no effect; one whose connection broke may have', () => {
  expect(isUnsure(fromServer('53100'))).toBe(false);
  expect(isUnsure(fromServer('25006'))).toBe(false);
  expect(isUnsure(fromServer('57014'))).toBe(false);
  expect(isUnsure(fromServer('57P01', 'FATAL'))).toBe(true);
  expect(isUnsure(fromServer('08007'))).toBe(true);
  expect(isUnsure(fromServer('40003'))).toBe(true);
  expect(isUnsure(fromNode('ECONNRESET'))).toBe(true);
  expect(isUnsure(new Error('Query read timeout'))).toBe(true);
});

test('only 53300 is a server that has no connection to give', () => {
  expect(isCrowded(fromServer('53300', 'FATAL'))).toBe(true);
  expect(isCrowded(fromServer('53100'))).toBe(false);
  expect(isCrowded(fromNode('53300'))).toBe(false);
});
