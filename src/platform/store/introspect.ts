/** Which session stands, for data servers: read afresh each time, through the primary key of either table. */
import { unseal, type KeyRing } from '../../crypto/sealing';
import { sessionOwners } from '../../crypto/sessionId';
import { plainArray } from './arrays';
import type { Database } from './database';

const COLUMNS = `
  SELECT t.serial, encode(s.session_id, 'hex'), s.session_key, s.expires_at, i.gateway
  FROM m2m.terminal AS t
  JOIN m2m.session AS s ON s.terminal_id = t.id
  LEFT JOIN m2m.instance AS i ON i.id = s.instance
  WHERE s.session_id IS NOT NULL AND s.expires_at > now()`;
const BY_SERIAL = `${COLUMNS} AND t.serial = $1`;
const BY_SESSION = `${COLUMNS} AND t.id = ANY ($1::bigint[]) AND s.session_id = $2`;

/** What a session is asked for by. */
export type SessionName = { readonly serial: string } | { readonly sessionId: string };

export interface LiveSession {
  readonly serial: string;
  /** 16 lower-case hexadecimal digits. */
  readonly sessionId: string;
  /** As long as the base key: 16 or 32 bytes, 24 in WMMP 3.0; undefined: the terminal has asked for none. */
  readonly sessionKey: Buffer | undefined;
  readonly expiresAt: Date;
  readonly gateway: string | undefined;
}

/** The session, if it stands. Throws DatabaseAway. */
export async function findSession(
  database: Database,
  ring: KeyRing,
  name: SessionName,
): Promise<LiveSession | undefined> {
  const { rows } = await database.query(statement(ring, name));
  const [row] = rows;
  if (row === undefined) return undefined;
  const [serial, sessionId, sessionKey, expiresAt, gateway] = row;
  return {
    serial: serial as string,
    sessionId: sessionId as string,
    sessionKey:
      sessionKey === null ? undefined : unseal(ring, 'session_key', serial as string, sessionKey as Buffer),
    expiresAt: expiresAt as Date,
    gateway: (gateway as string | null) ?? undefined,
  };
}

function statement(ring: KeyRing, name: SessionName) {
  if ('serial' in name) return { name: 'session-by-serial', text: BY_SERIAL, values: [name.serial] };
  const id = Buffer.from(name.sessionId, 'hex');
  return { name: 'session-by-id', text: BY_SESSION, values: [plainArray(sessionOwners(ring, id)), id] };
}
