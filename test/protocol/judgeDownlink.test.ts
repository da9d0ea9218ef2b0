/** What a terminal refuses of a gateway by the header alone, and with which words. */
import { isWmmp, readHeader } from '../../src/protocol/header';
import { downlinkJudge } from '../../src/protocol/judgeDownlink';
import { buildFrame, COMMAND, RESPONSE, type FrameParts } from '../support/oracle';
import { WMMP, wmmpFrame } from '../support/wmmpOracle';

const LIMIT = 512;
const header = (parts: Partial<FrameParts>) =>
  readHeader(buildFrame({ command: COMMAND.DISCONNECT, serial: 'T-1', ...parts, digest: null }));
const wmmp = (command: number, version = 0x0300, security = 0) =>
  readHeader(wmmpFrame({ command, serial: 'T-1', version, security }));
const judge = downlinkJudge(LIMIT);

const { LOGIN, AUTH_CHALLENGE, CREDENTIAL_NOTICE, DISCONNECT } = COMMAND;

test.each<[string, Partial<FrameParts>]>([
  ['DISCONNECT, unsigned', {}],
  ['DISCONNECT in suite 1', { suite: 1 }],
  ['DISCONNECT in suite 2', { suite: 2 }],
  ['DISCONNECT without a serial', { serial: '' }],
  ['a serial that is none, echoed', { command: RESPONSE | LOGIN, serial: 'A B' }],
  ['a notice', { command: CREDENTIAL_NOTICE, suite: 1 }],
  ['the answer to a login', { command: RESPONSE | LOGIN, suite: 1 }],
  ['one that says no', { command: RESPONSE | LOGIN, result: 1 }],
  ['the answer to a challenge', { command: RESPONSE | AUTH_CHALLENGE }],
  ['a bare header', { length: 28 }],
  ['exactly the limit', { length: LIMIT }],
])('taken: %s', (_name, parts) => expect(judge(header(parts))).toBeUndefined());

test.each<[string, Partial<FrameParts>, string, number, string | undefined]>([
  ['too short', { length: 27 }, 'length-too-short', 0, '27'],
  ['too long', { length: LIMIT + 1 }, 'length-too-long', 0, '513'],
  ['another version', { version: 0x050a }, 'version-unknown', 8, '5.10'],
  ['no command', { command: 0x0777 }, 'command-not-downlink', 2, undefined],
  ['an answer to no command', { command: RESPONSE | 0x0777 }, 'command-not-downlink', 2, undefined],
  ['what a terminal asks', { command: LOGIN, suite: 1 }, 'command-not-downlink', 2, undefined],
  [
    'what a terminal answers',
    { command: RESPONSE | CREDENTIAL_NOTICE, suite: 1 },
    'command-not-downlink',
    2,
    undefined,
  ],
  ['an answer to DISCONNECT', { command: RESPONSE | DISCONNECT }, 'command-not-downlink', 2, undefined],
  ['a result in a request', { result: 3 }, 'result-in-request', 11, '3'],
  ['an unknown suite', { suite: 3 }, 'suite-unknown', 10, '3'],
])('refused: %s', (_name, parts, name, offset, subject) => {
  const fault = judge(header(parts))!;
  expect([fault.name, fault.offset, fault.subject]).toEqual([name, offset, subject]);
});

test('WMMP: what a gateway sends, whatever its security byte', () => {
  for (const version of [0x0300, 0x0301]) {
    expect(judge(wmmp(RESPONSE | WMMP.LOGIN, version, 0xff))).toBeUndefined();
    expect(judge(wmmp(WMMP.SECURITY_CONFIG, version))).toBeUndefined();
    for (const command of [WMMP.LOGIN, RESPONSE | WMMP.SECURITY_CONFIG, 0x0777])
      expect(judge(wmmp(command, version))).toMatchObject({ name: 'command-not-downlink', offset: 2 });
  }
});

test('a terminal takes the versions that it speaks, and no other', () => {
  const only4 = downlinkJudge(LIMIT, [0x0400]);
  const only3 = downlinkJudge(LIMIT, [0x0300]);
  expect(only4(header({}))).toBeUndefined();
  expect(only3(header({}))).toMatchObject({ name: 'version-unknown', subject: '4.0' });
  expect(only3(wmmp(RESPONSE | WMMP.LOGIN))).toBeUndefined();
  expect(only3(wmmp(RESPONSE | WMMP.LOGIN, 0x0301))).toMatchObject({ subject: '3.1' });
  expect([0x0300, 0x0301, 0x0302, 0x0400].filter(isWmmp)).toEqual([0x0300, 0x0301]);
});
