/** Frames of WMMP 3.0 as they are shown, and what is found wrong with them. */
import { describe as describeFrame } from '../../src/terminal/describe';
import { frameTable } from '../../src/terminal/frameTable';
import { readHeader } from '../../src/protocol/header';
import { decodeWmmp, type WmmpMessage } from '../../src/protocol/wmmp/decode';
import { verifyWmmp } from '../../src/terminal/wmmp/verify';
import { TERMINAL } from '../support/fakeGateway';
import { u16, u32 } from '../support/oracle';
import {
  FOREVER,
  uplink,
  WMMP,
  WMMP_TAG,
  wmmpAnswer,
  wmmpFrame,
  wmmpLogin,
  wmmpLogout,
  wmmpTlvs,
} from '../support/wmmpOracle';

const RESPONSE = 0x8000;
const AT = 1_800_000_000;
const { serial, imei, imsi } = TERMINAL;
const head = (command: number, body: string) =>
  wmmpFrame({ command, serial, body: Buffer.from(body, 'hex') });

test('shows fixed fields and TLVs by name; TLVs of a stack are skipped', () => {
  const register = Buffer.concat([
    Buffer.of(0),
    Buffer.from(`${imei}\0`),
    Buffer.from(imsi),
    wmmpTlvs([
      [0x3006, Buffer.of(1, 2)],
      [WMMP_TAG.UPLINK_EXPIRY, u32(FOREVER)],
    ]),
  ]);
  const { frame, fault } = describeFrame(
    wmmpFrame({ command: WMMP.REGISTER, serial, body: register }),
    false,
  );
  expect(fault).toBeUndefined();
  const lines = frameTable(frame!, '').split('\n').slice(8);
  expect(lines.map((line) => line.replaceAll(/ +/g, ' '))).toEqual([
    '28 OPERATION 1 0',
    `29 IMEI 16 ${imei}`,
    `45 IMSI 15 ${imsi}`,
    '60 0x3006 (skipped) 2 0102',
    '66 0xe027 UPLINK_PASSWORD_EXPIRY 4 4294967295 (never)',
  ]);
});

test('what nobody says how it is laid out is shown as it is, but for a digest', () => {
  const frame = uplink(TERMINAL, 0x0004, AT, Buffer.from('abcdef', 'hex'));
  const described = describeFrame(frame, false);
  expect(described.fault).toBeUndefined();
  expect(described.frame).toMatchObject({
    command: 'COMMAND_0004',
    fixed: [{ offset: 28, name: 'REST', length: 3, value: 'abcdef' }],
    tlvs: [{ offset: 31, name: 'DIGEST', value: null }],
  });
});

const config = WMMP.SECURITY_CONFIG;
const DIRECTIONS: [what: string, command: number, body: string, direction: 'up' | 'down'][] = [
  ['a heartbeat', WMMP.HEARTBEAT, '', 'up'],
  ['its answer', WMMP.HEARTBEAT | RESPONSE, '', 'down'],
  ['a SECURITY_CONFIG', config, `e0420008${'00'.repeat(8)}e0210010${'00'.repeat(16)}`, 'down'],
  ['its answer', config | RESPONSE, `00e0210010${'00'.repeat(16)}`, 'up'],
];
test.each(DIRECTIONS)('the way of %s is guessed', (_, command, body, direction) => {
  const { frame, fault } = describeFrame(head(command, body), false);
  expect([frame?.direction, fault]).toEqual([direction, undefined]);
});

const login = wmmpLogin(TERMINAL);
const FAULTY: [what: string, bytes: Buffer, direction: 'up' | 'down' | undefined, fault: object][] = [
  ['an unknown command', head(0x0099, ''), 'up', { name: 'command-unknown', offset: 2 }],
  ['a request of a terminal from the gateway', login, 'down', { name: 'command-not-downlink', offset: 2 }],
  [
    'a serial that is none',
    wmmpFrame({ command: 3, serial: Buffer.alloc(16) }),
    'up',
    { name: 'serial-invalid' },
  ],
  ['fixed fields cut short', head(WMMP.LOGIN, '0102'), 'up', { name: 'body-too-short', offset: 28 }],
  [
    'a LOGIN without a digest',
    head(WMMP.LOGIN, '00'.repeat(12)),
    'up',
    { name: 'digest-missing', offset: 40 },
  ],
  ['a TLV past the end', head(WMMP.LOGOUT, '01e02100ff'), 'up', { name: 'tlv-overrun', offset: 29 }],
  [
    'a digest that is not last',
    head(WMMP.LOGOUT, `01e0210010${'00'.repeat(16)}30060000`),
    'up',
    { name: 'digest-not-last', offset: 29 },
  ],
  ['a frame cut short', login.subarray(0, 45), undefined, { name: 'frame-incomplete', offset: 45 }],
];
test.each(FAULTY)('%s', (_, bytes, direction, fault) => {
  expect(describeFrame(bytes, false, direction).fault).toMatchObject(fault);
});

test('never throws, however a frame is cut or bent', () => {
  const frames = [
    login,
    wmmpLogout(TERMINAL, AT),
    wmmpAnswer(TERMINAL, { command: WMMP.LOGIN, sequence: 1 }, Buffer.alloc(5)),
    uplink(TERMINAL, config | RESPONSE, AT, Buffer.concat([Buffer.of(2), u16(0xe025)])),
  ];
  for (const bytes of frames) {
    for (let size = 0; size <= bytes.length; size++) {
      for (const direction of ['up', 'down', undefined] as const) {
        const { fault } = describeFrame(bytes.subarray(0, size), true, direction);
        if (size < bytes.length) expect(fault).toBeDefined();
      }
    }
    for (let at = 0; at < bytes.length; at++) {
      const bent = Buffer.from(bytes);
      bent.writeUInt8(0xff, at);
      expect(() => describeFrame(bent, true)).not.toThrow();
    }
  }
});

test('a wrong digest names the timestamp that was tried; a LOGIN has none but 0', () => {
  const known = {
    imei,
    imsi,
    uplinkPassword: Buffer.from('other'),
    downlinkPassword: undefined,
    baseKey: undefined,
    timestamp: AT,
    around: AT,
  };
  const message = (bytes: Buffer) => decodeWmmp(readHeader(bytes), bytes) as WmmpMessage;
  expect(verifyWmmp(message(login), 'up', known, AT)).toEqual({ verdict: 'wrong', tried: [0] });
  const logout = message(wmmpLogout(TERMINAL, AT));
  expect(verifyWmmp(logout, 'up', known, AT - 5)).toEqual({ verdict: 'wrong', tried: [AT - 5] });
  const right = { ...known, uplinkPassword: TERMINAL.uplinkPassword };
  expect(verifyWmmp(logout, 'up', right, undefined)).toMatchObject({ verdict: 'good', timestamp: AT });
  const bare = { ...right, timestamp: undefined };
  expect(verifyWmmp(logout, 'up', bare, undefined)).toMatchObject({ verdict: 'unchecked', lacks: true });
});
