/** Which errors say that the database cannot be used now, as opposed to a statement that is wrong. */

/** SQLSTATE classes and codes of a server that is not there, full, going down, or read-only after a failover. */
const AWAY_STATES = [
  /^08/, // connection exception
  /^53/, // insufficient resources: too many connections, disk full
  /^57P0/, // admin shutdown, crash shutdown, cannot connect now
  /^57014$/, // statement timeout
  /^58/, // I/O error
  /^25006$/, // read-only transaction
  /^28/, // the server refuses us: access rules change while it is set up anew
  /^3D000$/, // the database is not there (being restored)
];

const AWAY_MESSAGES =
  /timeout|terminated|ECONN|EPIPE|ENOENT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|Connection ended|not queryable|connection error/i;

export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: string };
  if (code !== undefined && /^[0-9A-Z]{5}$/.test(code)) return AWAY_STATES.some((state) => state.test(code));
  return AWAY_MESSAGES.test(`${code ?? ''} ${error.message}`);
}

/** Deadlock or serialisation failure: the same statement succeeds when tried again. */
export function isTransient(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === '40P01' || code === '40001';
}

export function isReadOnly(setting: unknown): boolean {
  return setting === 'on';
}
