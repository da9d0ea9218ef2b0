/**
 * What an error of a statement says: the server cannot be used now, the same statement succeeds when tried again, or
 * (neither) the statement is wrong.
 */
import { DatabaseError } from 'pg';

/** SQLSTATE classes and codes of a server that is not there, full, going down, or read-only after a failover. */
const AWAY_STATES = [
  /^08/, // connection exception
  /^53/, // insufficient resources: disk full (53100), too many connections (53300)
  /^57P/, // shut down, crashed, not up yet, database dropped
  /^57014$/, // statement timeout
  /^58/, // I/O error
  /^25006$/, // read-only: a standby, or a primary that was demoted
  /^28/, // the server refuses us: access rules change while it is set up anew
  /^3D000$/, // the database is not there (being restored)
];

/** Class 42: what a statement names is not there, not like that, or not ours to use; 3F000: nor is its schema. */
const MISFIT_STATES = /^(42...|3F000)$/;

const TRANSIENT_STATES = new Set([
  '40001', // serialisation failure
  '40P01', // deadlock
]);

/** Those that leave open whether the statement was committed. */
const UNSURE_STATES = /^(08007|40003)$/;

/** Codes of Node for a connection that cannot be had, or is none any more. */
const AWAY_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOENT', // no socket file: the server is down
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ETIMEDOUT',
  'EADDRNOTAVAIL', // no local port left
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
]);

/** What the client library says of its own accord: it gives no codes. */
const AWAY_MESSAGES =
  /^(Query read timeout|timeout expired|timeout exceeded when trying to connect|Connection terminated|Client (was closed|has encountered a connection error) and is not queryable|Cannot use a pool after calling end)/;

export function isAway(error: unknown): boolean {
  if (error instanceof DatabaseError) return AWAY_STATES.some((state) => state.test(error.code ?? ''));
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return AWAY_CODES.has(code as string) || AWAY_MESSAGES.test(String(message));
}

/** The statement and the schema do not fit: a mistake of ours, or a database that is just being brought in, or old. */
export function isMisfit(error: unknown): boolean {
  return error instanceof DatabaseError && MISFIT_STATES.test(error.code ?? '');
}

/** The same statement succeeds when tried again: others were in its way. */
export function isTransient(error: unknown): boolean {
  return error instanceof DatabaseError && TRANSIENT_STATES.has(error.code ?? '');
}

/** Somebody's open transaction holds what the statement needs; the server itself is well. */
export function isLocked(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '55P03';
}

/** Whether a statement that failed with it may have taken effect: not where the server lives on and says that it failed. */
export function isUnsure(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return true;
  return error.severity !== 'ERROR' || UNSURE_STATES.test(error.code ?? '');
}

export function isForbidden(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '42501';
}

/** The server has no connection left to give. */
export function isCrowded(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '53300';
}
