/** Which of the gateway's requests a device obeys: those of its own session, and no others. */
import { encodeDisconnect, encodeUnsignedDisconnect } from '../../src/platform/flows/answer';
import { readHeader, serialBytes } from '../../src/protocol/header';
import { judgeDownlink, type Session } from '../../src/terminal/session';
import { TERMINAL } from '../support/fakeGateway';
import { recordOf, sessionOf } from '../support/rooms';

const NOW = 1_800_000_000_000;
const there = sessionOf(recordOf(TERMINAL), { suite: 2 });
const here: Session = {
  ...{ id: Buffer.from(there.id, 'hex'), suite: 2, serial: serialBytes(TERMINAL.serial) },
  ...{ imei: TERMINAL.imei, imsi: TERMINAL.imsi, downlinkPassword: TERMINAL.downlinkPassword },
  ...{ ttl: 3600, heartbeatInterval: 60, key: undefined, wishedChange: 0 },
};
const signed = (of = there) => encodeDisconnect(of, 1, 'suspended', NOW)!;
const judge = (bytes: Buffer, session: Session | undefined = here) =>
  judgeDownlink(session, { header: readHeader(bytes), bytes });

test('signed within the session', () => {
  expect(judge(signed())).toMatchObject({ kind: 'disconnect', signed: true, reason: 'suspended' });
});

test.each<[string, Buffer]>([
  ['other-session', signed({ ...there, id: '00'.repeat(8) })],
  ['other-session', signed({ ...there, terminal: { ...there.terminal, serial: 'ANOTHER' } })],
  ['other-suite', signed({ ...there, signer: { ...there.signer, suite: 1 } })],
  ['wrong-digest', signed({ ...there, signer: { ...there.signer, password: Buffer.from('other') } })],
  ['signature-missing', encodeUnsignedDisconnect(1, 'suspended')],
])('%s is not obeyed', (reason, bytes) => {
  expect(judge(bytes)).toMatchObject({ kind: 'refused', reason });
});

test('without a session only what is unsigned is heard, which means no more than "later"', () => {
  const bytes = encodeUnsignedDisconnect(1, 'shutting-down', 500);
  const none = { header: readHeader(bytes), bytes };
  expect(judgeDownlink(undefined, none)).toMatchObject({ signed: false, retryAfter: 500 });
  const odd = signed();
  expect(judgeDownlink(undefined, { header: readHeader(odd), bytes: odd })).toMatchObject({
    kind: 'refused',
    reason: 'no-session',
  });
});
