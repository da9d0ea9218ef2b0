import { randomBytes } from 'node:crypto';
import { NEAR_MISSES, nearMiss } from '../../../src/platform/flows/nearMiss';
import { NO_CHANGES, type TerminalRecord } from '../../../src/platform/model';
import { decode, type Message } from '../../../src/protocol/decode';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { decodeWmmp, type WmmpMessage } from '../../../src/protocol/wmmp/decode';
import { newTerminal } from '../../support/operator';
import { wmmpFrameDigest, wmmpLogin } from '../../support/wmmpOracle';
import {
  buildFrame,
  COMMAND,
  frameDigest,
  login,
  SUITE,
  TAG,
  u32,
  type RequestOptions,
  type Signing,
  type Terminal,
} from '../../support/oracle';

const NOW = 1_764_000_017;
const REPLACED = Buffer.from('the one before');
const PENDING = randomBytes(16);
const LONG = Buffer.from('a password of more than sixteen bytes');

const recordOf = (terminal: Terminal): TerminalRecord => ({
  id: 1,
  serial: terminal.serial,
  imei: terminal.imei,
  imsi: terminal.imsi,
  status: 'active',
  leastLogin: 'md5',
  uplinkPassword: terminal.uplinkPassword,
  downlinkPassword: terminal.downlinkPassword,
  baseKey: terminal.baseKey,
  changes: {
    ...NO_CHANGES,
    pending: {
      id: 1,
      targets: 1,
      settled: 0,
      bySms: true,
      shown: 'never',
      textAt: undefined,
      uplinkPassword: PENDING,
      downlinkPassword: undefined,
      baseKey: undefined,
    },
  },
  msisdn: undefined,
  packetsRevokedAt: 0,
  revision: 1,
});

function messageOf(frame: Buffer): Message {
  const message = decode(readHeader(frame), frame);
  if (isFault(message)) throw new Error(message.name);
  return message;
}

function wmmpMessage(frame: Buffer): WmmpMessage {
  const message = decodeWmmp(readHeader(frame), frame);
  if (isFault(message)) throw new Error(message.name);
  return message;
}

/** A LOGIN whose digest is made over other bytes or facts than those of the frame. */
function mistaken(
  terminal: Terminal,
  suite: number,
  options: { implicit?: boolean; sign?: Partial<Signing>; covered?: (covered: Buffer) => Buffer },
): Buffer {
  const { serial, imei, imsi, uplinkPassword } = terminal;
  const timestamp = options.implicit ? NOW - (NOW % 60) : NOW;
  const tlvs = options.implicit ? [] : [[TAG.TIMESTAMP, u32(NOW)] as const];
  const size = suite === SUITE.MD5 ? 16 : 32;
  const parts = { command: COMMAND.LOGIN, serial, sequence: 7, suite, tlvs };
  const blank = buildFrame({ ...parts, digest: Buffer.alloc(size) });
  const covered = blank.subarray(0, blank.length - size - 4);
  const sign = { timestamp, imei, imsi, password: uplinkPassword, ...options.sign };
  const digest = frameDigest(suite, options.covered?.(covered) ?? covered, sign);
  return buildFrame({ ...parts, digest });
}

const simply = (options: Partial<RequestOptions>) => (terminal: Terminal, suite: number) =>
  login(terminal, { suite, at: NOW, ...options });
const signed = (sign: (terminal: Terminal) => Partial<Signing>, implicit?: boolean) => {
  return (terminal: Terminal, suite: number) =>
    mistaken(terminal, suite, { sign: sign(terminal), ...(implicit && { implicit }) });
};
const over = (covered: (covered: Buffer, suite: number) => Buffer) => (terminal: Terminal, suite: number) =>
  mistaken(terminal, suite, { covered: (bytes) => covered(bytes, suite) });
const backwards = (text: string) => [...text].reverse().join('');

/** Frames as firmware with that mistake would send them. */
const FRAMES: Record<string, ((terminal: Terminal, suite: number) => Buffer)[]> = {
  'replaced-password': [
    simply({ password: REPLACED }),
    simply({ password: REPLACED, implicit: true, at: NOW - 60 }),
  ],
  'downlink-password': [signed(({ downlinkPassword }) => ({ password: downlinkPassword }))],
  'pending-password': [simply({ password: PENDING })],
  'base-key-as-password': [signed(({ baseKey }) => ({ password: baseKey }))],
  // Under HMAC a key and the same key with zero bytes behind it are one key (RFC 2104, section 2).
  'password-padded': [
    (terminal) =>
      mistaken(terminal, SUITE.MD5, {
        sign: { password: Buffer.concat([terminal.uplinkPassword], 64) },
      }),
  ],
  'password-line-end': [
    signed(({ uplinkPassword }) => ({ password: Buffer.concat([uplinkPassword, Buffer.from('\r\n')]) })),
  ],
  'password-cut-off': [
    (terminal, suite) => login({ ...terminal, uplinkPassword: LONG.subarray(0, 15) }, { suite, at: NOW }),
  ],
  'imei-with-nul': [
    signed(({ imei }) => ({ imei: `${imei}\0` })),
    signed(({ imei, imsi }) => ({ imei: `${imei}\0`, imsi: `${imsi}\0` })),
  ],
  'imei-without-check-digit': [signed(({ imei }) => ({ imei: imei.slice(0, 14) }))],
  'imei-and-imsi-swapped': [signed(({ imei, imsi }) => ({ imei: imsi, imsi: imei }))],
  'imei-byte-order': [signed(({ imei, imsi }) => ({ imei: backwards(imei), imsi: backwards(imsi) }))],
  'imei-or-imsi-left-out': [signed(() => ({ imsi: '' })), signed(() => ({ imei: '', imsi: '' }), true)],
  'timestamp-zero': [signed(() => ({ timestamp: 0 }), true), signed(() => ({ timestamp: 0 }))],
  'timestamp-byte-order': [signed(() => ({ timestamp: Buffer.from(u32(NOW)).readUInt32LE() }))],
  'timestamp-in-minutes': [signed(() => ({ timestamp: Math.floor(NOW / 60) }))],
  'timestamp-not-rounded': [signed(() => ({ timestamp: NOW - 61 }), true)],
  'clock-local-time': [signed(() => ({ timestamp: NOW - (NOW % 60) + 8 * 3600 }), true)],
  'clock-minutes-off': [signed(() => ({ timestamp: NOW - (NOW % 60) - 17 * 60 }), true)],
  'header-left-out': [over((covered) => covered.subarray(28))],
  'body-left-out': [over((covered) => covered.subarray(0, 28))],
  'length-without-digest': [
    over((covered) => {
      const copy = Buffer.from(covered);
      copy.writeUInt16BE(covered.length, 0);
      return copy;
    }),
  ],
  'digest-header-covered': [
    over((covered, suite) =>
      Buffer.concat([covered, Buffer.of(0xe0, 0x21, 0, suite === SUITE.MD5 ? 16 : 32)]),
    ),
  ],
};

const CASES = Object.entries(FRAMES).flatMap(([name, frames]) =>
  frames.flatMap((frame, n) =>
    [SUITE.MD5, SUITE.HMAC].map(
      (suite) => [`${name}, way ${n + 1}, suite ${suite}`, name, frame, suite] as const,
    ),
  ),
);

/** LOGINs of WMMP 3.0, whose right digest pads IMEI and IMSI and takes timestamp 0. */
const WMMP_FRAMES: Record<string, (terminal: Terminal) => Buffer> = {
  'replaced-password': (terminal) => wmmpLogin(terminal, { password: REPLACED }),
  'downlink-password': (terminal) => wmmpLogin(terminal, { password: terminal.downlinkPassword }),
  'pending-password': (terminal) => wmmpLogin(terminal, { password: PENDING }),
  'password-padded': (terminal) =>
    wmmpLogin(terminal, { password: Buffer.concat([terminal.uplinkPassword], 16) }),
  'imei-without-nul': (terminal) => {
    const frame = Buffer.from(wmmpLogin(terminal));
    const { imei, imsi, uplinkPassword: password } = terminal;
    const covered = frame.subarray(0, frame.length - 20);
    frameDigest(SUITE.MD5, covered, { timestamp: 0, imei, imsi, password }).copy(frame, frame.length - 16);
    return frame;
  },
  'timestamp-not-zero': (terminal) => {
    const frame = Buffer.from(wmmpLogin(terminal));
    const covered = frame.subarray(0, frame.length - 20);
    const signing = { ...terminal, timestamp: NOW - 5, password: terminal.uplinkPassword };
    wmmpFrameDigest(covered, signing).copy(frame, frame.length - 16);
    return frame;
  },
};

test('every near miss is tried here', () => {
  expect(new Set([...Object.keys(FRAMES), ...Object.keys(WMMP_FRAMES)])).toEqual(new Set(NEAR_MISSES));
});

test.each(Object.keys(WMMP_FRAMES))('WMMP: %s', (name) => {
  const terminal = newTerminal();
  const message = wmmpMessage(WMMP_FRAMES[name]!(terminal));
  const record = recordOf(terminal);
  expect(nearMiss({ message, record, replacedPassword: REPLACED, now: NOW * 1000 })).toBe(name);
  const other = wmmpMessage(wmmpLogin(terminal, { password: randomBytes(8) }));
  expect(nearMiss({ message: other, record, replacedPassword: REPLACED, now: NOW * 1000 })).toBeUndefined();
});

test.each(CASES)('%s', (_, name, frame, suite) => {
  const terminal = { ...newTerminal(), serial: 'T100' };
  const record = recordOf(terminal);
  const stored = name === 'password-cut-off' ? { ...record, uplinkPassword: LONG } : record;
  const suspect = {
    message: messageOf(frame(terminal, suite)),
    record: stored,
    replacedPassword: REPLACED,
    now: NOW * 1000,
  };
  expect(nearMiss(suspect)).toBe(name);
});

test.each([SUITE.MD5, SUITE.HMAC])('another password is no near miss, suite %d', (suite) => {
  const terminal = newTerminal();
  for (const implicit of [true, false]) {
    const message = messageOf(login(terminal, { suite, at: NOW, implicit, password: randomBytes(16) }));
    const record = { ...recordOf(terminal), baseKey: undefined, changes: NO_CHANGES };
    expect(nearMiss({ message, record, replacedPassword: undefined, now: NOW * 1000 })).toBeUndefined();
  }
});
