/** Frames of a WMMP 3.0 device against those of the oracle, and the oracle against one that was not made here. */
import { newState } from '../../src/terminal/state';
import {
  configAnswer,
  heartbeatRequest,
  loginRequest,
  logoutRequest,
} from '../../src/terminal/wmmp/requests';
import type { WmmpSession } from '../../src/terminal/wmmp/session';
import {
  parseWmmp,
  securityConfigAnswer,
  wmmpDigestIsGood,
  wmmpHeartbeat,
  wmmpLogin,
  wmmpLogout,
} from '../support/wmmpOracle';

/** What a terminal in the field sent, whose stack leaves the security byte 0. */
const KNOWN =
  '003c000100000001030000004130304d533830313133393030303253313233343536373800000000e0210010d9cbd6c3f3e4b84cef34283b265cb771';
const TERMINAL = {
  serial: 'A00MS8011390002S',
  imei: '354494040518570',
  imsi: '460020084678120',
  uplinkPassword: Buffer.from('vkwF2SJa'),
  downlinkPassword: Buffer.from('Uo3aHCbG'),
  baseKey: Buffer.from('0123456789abcdef01234567'),
};
const device = newState({ ...TERMINAL, suite: 2 }, 1);
const session: WmmpSession = { kind: 'session', device, timestamp: 1_800_000_000, key: undefined };

test('the oracle makes and reads the known LOGIN', () => {
  const frame = wmmpLogin(TERMINAL, { security: 0 });
  expect(frame.toString('hex')).toBe(KNOWN);
  const signing = { ...TERMINAL, timestamp: 0, password: TERMINAL.uplinkPassword };
  expect(wmmpDigestIsGood(parseWmmp(frame), signing)).toBe(true);
});

test('LOGIN, plain and for a session key', () => {
  const plain = loginRequest(device, 9, { sessionKey: false, software: '12345678' });
  expect(plain.frame).toEqual(wmmpLogin(TERMINAL, { sequence: 9 }));
  const forKey = loginRequest(device, 9, { sessionKey: true, software: 'fw' });
  expect(forKey.frame).toEqual(
    wmmpLogin(TERMINAL, { sequence: 9, keyProof: true, software: 'fw\0\0\0\0\0\0' }),
  );
});

test('a short IMSI is padded under the digest', () => {
  const imsi = '460020';
  const { frame } = loginRequest({ ...device, imsi }, 2, { sessionKey: false, software: '12345678' });
  expect(frame).toEqual(wmmpLogin({ ...TERMINAL, imsi }, { sequence: 2 }));
});

test('a session key needs a base key of 24 bytes', () => {
  const wishes = { sessionKey: true, software: '' };
  expect(() => loginRequest({ ...device, baseKey: undefined }, 1, wishes)).toThrow(/has none/);
  expect(() => loginRequest({ ...device, baseKey: Buffer.alloc(16) }, 1, wishes)).toThrow(/24 bytes, not 16/);
});

test('frames within a session stand under its timestamp', () => {
  const { timestamp } = session;
  expect(heartbeatRequest(device, 7).frame).toEqual(wmmpHeartbeat(TERMINAL, { sequence: 7 }));
  for (const reason of [1, 9]) {
    const { frame } = logoutRequest(session, 8, reason);
    expect(frame).toEqual(wmmpLogout(TERMINAL, timestamp, { reason, sequence: 8 }));
  }
  expect(configAnswer(session, 5, 0, [])).toEqual(securityConfigAnswer(TERMINAL, timestamp, 5));
  const tags = [0xe025, 0xe02a];
  expect(configAnswer(session, 5, 2, tags)).toEqual(
    securityConfigAnswer(TERMINAL, timestamp, 5, { result: 2, tags }),
  );
});
