/** What a change in the database means for a session that stands on a connection. */
import type { DisconnectReason } from '../../protocol/commands';
import type { Session, TerminalRecord, TerminalView } from '../model';

export type Effect =
  | { readonly kind: 'none' }
  /** The session stands; from now on it is judged by this record. `notice`: the platform wishes these targets anew. */
  | { readonly kind: 'refresh'; readonly record: TerminalRecord; readonly notice: number }
  /** `reason`: what the terminal is told. `cause`: what operators are told. */
  | { readonly kind: 'end'; readonly reason: DisconnectReason; readonly cause: string };

/** Why SQL ended a session, as the session row says it, to what the terminal is told. */
const ENDED: Readonly<Record<string, DisconnectReason>> = {
  suspended: 'suspended',
  'identity-changed': 'identity-changed',
  disconnected: 'expired',
  expired: 'expired',
  // Only a newer session can have been logged out of: this one would have gone with its own LOGOUT.
  logout: 'superseded',
};

/** @param view the terminal as the database has it now; undefined: it cannot be read any more */
export function effectOn(session: Session, view: TerminalView | undefined): Effect {
  const row = view?.row;
  if (view === undefined || row === undefined) return ending('identity-changed');
  if (row.sessionId === session.id) return refreshing(session, view.record);
  if (row.sessionId !== undefined) return ending('superseded');
  if (row.endReason === 'logout' && session.wmmp?.leaving === true) return { kind: 'none' };
  const reason = ENDED[row.endReason ?? ''] ?? 'expired';
  // The protocol has no word for it.
  return ending(reason, row.endReason === 'disconnected' ? row.endReason : reason);
}

function refreshing({ terminal, told }: Session, read: TerminalRecord): Effect {
  // The session's own commits, and its own looks at the terminal, may be ahead of what was read.
  const isNewer = read.revision > terminal.revision;
  const record = isNewer ? read : terminal;
  const { wished } = record.changes;
  if (!isNewer && wished === told) return { kind: 'none' };
  return { kind: 'refresh', record, notice: wished === told ? 0 : wished };
}

function ending(reason: DisconnectReason, cause: string = reason): Effect {
  return { kind: 'end', reason, cause };
}
