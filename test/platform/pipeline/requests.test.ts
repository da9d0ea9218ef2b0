/** Requests of a session, and what operators change about its terminal meanwhile. */
import { effectOn } from '../../../src/platform/flows/effect';
import type { PendingChange, Session, SessionRow, TerminalRecord } from '../../../src/platform/model';
import type { PipelineContext } from '../../../src/platform/pipeline/context';
import { request } from '../../../src/platform/pipeline/requests';
import { DatabaseAway } from '../../../src/platform/store/database';
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
  const frame = messageOf(sessionKey(terminal, { at }));
  const answer = await request(contextWith(wished, session), frame, session);
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

describe('a confirmation is committed, and nobody here was told', () => {
  const fresh = { uplinkPassword: Buffer.from('new up'), downlinkPassword: Buffer.from('new down') };
  const change: PendingChange = {
    ...{ id: 1, targets: 3, settled: 0, bySms: false, shown: 'never', textAt: undefined },
    ...{ ...fresh, baseKey: undefined },
  };
  const before = { ...record, changes: { wished: 0, lastId: 1, pending: change, confirmed: undefined } };
  const confirmed = { id: 1, targets: 3 };
  const after: TerminalRecord = {
    ...{ ...before, ...fresh, revision: 2 },
    changes: { ...before.changes, pending: undefined, confirmed },
  };
  const asked = (frame: Buffer, session: Session) =>
    request(contextWith(after, session), messageOf(frame), session);

  test('again: OK, under the new password', async () => {
    const session = sessionOf(before, { suite: 2 });
    const answer = await asked(
      credentialConfirm(1)(terminal, { at, password: fresh.uplinkPassword }),
      session,
    );
    expect([answer.result, answer.signer?.password]).toEqual(['OK', fresh.downlinkPassword]);
  });

  test('a request under what was replaced is not good any more', async () => {
    const session = sessionOf(before, { suite: 2 });
    expect((await asked(sessionKey(terminal, { at }), session)).result).toBe('AUTH_FAILED');
  });

  test('another request that learns of it is answered under the new password, a refusal too', async () => {
    const held = { ...before, uplinkPassword: fresh.uplinkPassword };
    const renewed = { ...terminal, ...fresh };
    for (const [keyProof, result] of [
      [true, 'OK'],
      [Buffer.alloc(16), 'BASE_KEY_MISMATCH'],
    ] as const) {
      const session = sessionOf(held, { suite: 2 });
      const answer = await asked(sessionKey(renewed, { at, keyProof }), session);
      expect([answer.result, answer.signer?.password]).toEqual([result, fresh.downlinkPassword]);
    }
  });

  test('a minute that ends meanwhile makes no time of the frame wrong', async () => {
    const session = sessionOf(record, { suite: 2 });
    const context = contextWith({ ...record, revision: 2 }, session);
    let now = Math.ceil(at / 60) * 60_000 - 1;
    const frame = messageOf(sessionKey(terminal, { at: at - 60, implicit: true }));
    const answer = await request({ ...context, around: () => ({ ...AROUND, now: now++ }) }, frame, session);
    expect(answer.result).toBe('OK');
  });
});

test('a newer session of the same terminal: this one keeps what it was judged by', async () => {
  const session = sessionOf(record, { suite: 2 });
  const held = { ...record, revision: 2, downlinkPassword: Buffer.from('another') };
  const context = contextWith(held, { ...session, id: 'f'.repeat(16) });
  const answer = await request(context, messageOf(sessionKey(terminal, { at })), session);
  expect(answer).toEqual({ result: 'NOT_LOGGED_IN', detail: 'superseded' });
  expect([session.terminal, session.signer.password]).toEqual([record, record.downlinkPassword]);
});

test('what a terminal has confirmed is at hand for its next login', async () => {
  const uplinkPassword = Buffer.from('new');
  const pending: PendingChange = {
    ...{ id: 1, targets: 1, settled: 0, bySms: false, shown: 'never', textAt: undefined },
    ...{ uplinkPassword, downlinkPassword: undefined, baseKey: undefined },
  };
  const changes = { wished: 0, lastId: 1, pending, confirmed: undefined };
  const session = sessionOf({ ...record, changes }, { suite: 2 });
  const kept: TerminalRecord[] = [];
  const context = contextWith(session.terminal, session);
  const cache = { set: (one: TerminalRecord) => void kept.push(one) } as unknown as PipelineContext['cache'];
  const frame = messageOf(credentialConfirm(1)(terminal, { at, password: uplinkPassword }));
  expect((await request({ ...context, cache }, frame, session)).result).toBe('OK');
  expect(kept).toEqual([expect.objectContaining({ uplinkPassword, revision: 2 })]);
});

test.each([
  ['may have committed it', true, 'INTERNAL'],
  ['has not committed it', false, 'BUSY'],
])(
  'a database that goes away, and %s: only what was surely not done may be asked again',
  async (_, unsure, result) => {
    const session = sessionOf(record, { suite: 2 });
    const context = contextWith(record, session);
    const change = () => Promise.reject(new DatabaseAway('cut off', unsure));
    const store = { ...context.store, change };
    const answer = await request(
      { ...context, store, retryAfter: () => 1_000 },
      messageOf(sessionKey(terminal, { at })),
      session,
    );
    expect(answer).toMatchObject({ result, detail: 'database-away' });
  },
);
