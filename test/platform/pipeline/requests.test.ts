/** Requests of a session, and what operators change about its terminal meanwhile. */
import { effectOn } from '../../../src/platform/flows/effect';
import type { PendingChange, Session, SessionRow, TerminalRecord } from '../../../src/platform/model';
import type { PipelineContext } from '../../../src/platform/pipeline/context';
import { request } from '../../../src/platform/pipeline/requests';
import { decode, type Message } from '../../../src/protocol/decode';
import { readHeader } from '../../../src/protocol/header';
import { newTerminal } from '../../support/operator';
import { credentialConfirm, sessionKey } from '../../support/oracle';
import { AROUND, recordOf, sessionOf } from '../../support/rooms';

const at = AROUND.now / 1000;
const terminal = newTerminal();
const record = recordOf(terminal, { leastLogin: 'md5' });

const wishing = (of: TerminalRecord, wished: number, revision: number): TerminalRecord => ({
  ...of,
  ...{ revision, changes: { ...of.changes, wished } },
});
const messageOf = (frame: Buffer) => decode(readHeader(frame), frame) as Message;
const rowOf = ({ id }: Session): SessionRow => ({
  ...{ sessionId: id, endReason: undefined, logins: [], requests: [] },
});

/** A database that commits what was decided on its own record only. */
function contextWith(held: TerminalRecord, session: Session): PipelineContext {
  const context = {
    around: () => AROUND,
    cache: { set: () => undefined },
    store: {
      change: ({ revision }: { revision: number }) =>
        Promise.resolve({ committed: revision === held.revision, tookOver: false }),
      find: () => Promise.resolve({ record: held, row: rowOf(session) }),
    },
  };
  return context as unknown as PipelineContext;
}

test('a wish that a request of the session read first is told all the same', async () => {
  const session = sessionOf(record, { suite: 2 });
  const wished = wishing(record, 5, 2);
  const answer = await request(
    contextWith(wished, session),
    messageOf(sessionKey(terminal, { at })),
    session,
  );
  expect([answer.result, session.terminal]).toEqual(['OK', wished]);
  const view = { record: wished, row: rowOf(session) };
  expect(effectOn(session, view)).toMatchObject({ kind: 'refresh', notice: 5 });
});

test('what the terminal has settled itself is no other wish', async () => {
  const pending: PendingChange = {
    ...{ id: 1, targets: 1, settled: 0, bySms: false, shown: 'never', textAt: undefined },
    ...{ uplinkPassword: Buffer.from('new'), downlinkPassword: undefined, baseKey: undefined },
  };
  const changes = { wished: 7, lastId: 1, pending, confirmed: undefined };
  const session = sessionOf({ ...record, changes }, { suite: 2 });
  const confirm = credentialConfirm(1)(terminal, { at, password: Buffer.from('new') });
  const answer = await request(contextWith(session.terminal, session), messageOf(confirm), session);
  expect(answer.result).toBe('OK');
  // An operator changes something else.
  const later = { ...session.terminal, revision: 9 };
  expect(later.changes.wished).toBe(6);
  const view = { record: later, row: rowOf(session) };
  expect(effectOn(session, view)).toMatchObject({ kind: 'refresh', notice: 0 });
});
