import { heartbeatRequest, loginRequest, logoutRequest, type Asked } from '../../src/terminal/requests';
import { judgeDownlink, noticeReply, type Notice } from '../../src/terminal/session';
import { NO_SPARES, type DeviceState } from '../../src/terminal/state';
import { readHeader } from '../../src/protocol/header';
import { bytesOf, terminalOf, VARIANTS, vector, type Vector } from '../support/vectors';

const device = (found: Vector): DeviceState => ({
  ...terminalOf(found),
  nextSequence: 0,
  clockOffset: 0,
  spares: NO_SPARES,
});
const sequenceOf = (found: Vector) => bytesOf(found).readUInt32BE(4);
const moment = (found: Vector, explicit = true, time = found.timestamp) => ({
  sequence: sequenceOf(found),
  time,
  explicit,
});

const bare = { sessionKey: false, identity: false, firmware: undefined };
const CASES: [name: string, make: (found: Vector) => Asked][] = [
  [
    'LOGIN explicit timestamp, identity claimed, key asked',
    (found) =>
      loginRequest(device(found), moment(found), { sessionKey: true, identity: true, firmware: 'fw 2.1.0' }),
  ],
  ['LOGIN implicit timestamp, compact', (found) => loginRequest(device(found), moment(found, false), bare)],
  ['HEARTBEAT implicit timestamp', (found) => heartbeatRequest(device(found), moment(found, false))],
  ['LOGOUT', (found) => logoutRequest(device(found), moment(found))],
];

describe.each(VARIANTS)('requests %s', (variant) => {
  test.each(CASES)('%s', (name, make) => {
    const found = vector(name, variant);
    expect(make(found).frame.toString('hex')).toBe(found.hex);
  });

  test('an implicit timestamp is floored to the minute', () => {
    const found = vector('HEARTBEAT implicit timestamp', variant);
    const asked = heartbeatRequest(device(found), moment(found, false, found.timestamp + 59));
    expect(asked.frame.toString('hex')).toBe(found.hex);
  });

  test('CREDENTIAL_NOTICE is acknowledged', () => {
    const asked = vector('CREDENTIAL_NOTICE', variant);
    const answered = vector('CREDENTIAL_NOTICE answered by the terminal', variant);
    const terminal = terminalOf(asked);
    const session = {
      id: bytesOf(asked).subarray(40, 48),
      suite: terminal.suite,
      serial: bytesOf(asked).subarray(12, 28),
      imei: terminal.imei,
      imsi: terminal.imsi,
      downlinkPassword: terminal.downlinkPassword,
      ttl: 1,
      heartbeatInterval: 1,
      key: undefined,
      wishedChange: 0,
    };
    const notice = judgeDownlink(session, { header: readHeader(bytesOf(asked)), bytes: bytesOf(asked) });
    expect(notice.kind).toBe('notice');
    const reply = noticeReply(device(asked), session, notice as Notice, answered.timestamp);
    expect(reply.toString('hex')).toBe(answered.hex);
  });
});

test('a session key needs a base key of a size that this version knows', () => {
  const found = vector('LOGOUT', VARIANTS[0]);
  const at = moment(found);
  const asking = (baseKey: Buffer | undefined) => () =>
    loginRequest({ ...device(found), baseKey }, at, { ...bare, sessionKey: true });
  expect(asking(undefined)).toThrow(/has none/);
  expect(asking(Buffer.alloc(24))).toThrow(/16 or 32/);
});
