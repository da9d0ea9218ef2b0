import { randomBytes } from 'node:crypto';
import { NEAR_MISSES, nearMiss as search, type Suspect } from '../../../src/platform/flows/nearMiss';
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
/** The minute that a frame which leaves its time out means. */
const MINUTE = NOW - (NOW % 60);
const inPairs = (text: string) => text.match(/..?/g)!.map(backwards).join('');
const backwards = (text: string) => [...text].reverse().join('');

/** Frames as firmware with that mistake would send them. */
const FRAMES: Record<string, ((terminal: Terminal, suite: number) => Buffer)[]> = {
  'replaced-password': [
    simply({ password: REPLACED }),
    simply({ password: REPLACED, implicit: true }),
    simply({ password: REPLACED, implicit: true, at: NOW - 60 }),
    simply({ password: REPLACED, implicit: true, at: NOW + 60 }),
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
    signed(({ imsi }) => ({ imsi: `${imsi}\0` })),
    signed(({ imei, imsi }) => ({ imei: `${imei}\0`, imsi: `${imsi}\0` })),
  ],
  'imei-without-check-digit': [
    signed(({ imei }) => ({ imei: imei.slice(0, 14) })),
    signed(({ imei }) => ({ imei: `${imei.slice(0, 14)}0` })),
  ],
  'imei-and-imsi-swapped': [signed(({ imei, imsi }) => ({ imei: imsi, imsi: imei }))],
  'imei-byte-order': [
    signed(({ imei }) => ({ imei: backwards(imei) })),
    signed(({ imsi }) => ({ imsi: backwards(imsi) })),
    signed(({ imei, imsi }) => ({ imei: backwards(imei), imsi: backwards(imsi) })),
    // 21436587...: digits in pairs, the odd one at the end as it is.
    signed(({ imei, imsi }) => ({ imei: inPairs(imei), imsi: inPairs(imsi) })),
  ],
  'imei-or-imsi-left-out': [
    signed(() => ({ imei: '' })),
    signed(() => ({ imsi: '' })),
    signed(() => ({ imei: '', imsi: '' }), true),
  ],
  'timestamp-zero': [signed(() => ({ timestamp: 0 }), true), signed(() => ({ timestamp: 0 }))],
  'timestamp-byte-order': [signed(() => ({ timestamp: Buffer.from(u32(NOW)).readUInt32LE() }))],
  'timestamp-in-minutes': [signed(() => ({ timestamp: Math.floor(NOW / 60) }))],
  'timestamp-not-rounded': [-119, 1, 119].map((off) => signed(() => ({ timestamp: MINUTE + off }), true)),
  'clock-local-time': [8 * 60, -12 * 60 - 1, 14 * 60 + 1].map((off) =>
    signed(() => ({ timestamp: MINUTE + off * 60 }), true),
  ),
  'clock-minutes-off': [-17, -58, 58].map((off) => signed(() => ({ timestamp: MINUTE + off * 60 }), true)),
  'header-left-out': [over((covered) => covered.subarray(28))],
  'body-left-out': [over((covered) => covered.subarray(0, 28))],
  'length-without-digest': [
    over((covered) => {
      const copy = Buffer.from(covered);
      copy.writeUInt16BE(covered.length, 0);
      return copy;
    }),
    over((covered) => Buffer.concat([Buffer.alloc(2), covered.subarray(2)])),
  ],
  'digest-header-covered': [
    over((covered, suite) =>
      Buffer.concat([covered, Buffer.of(0xe0, 0x21, 0, suite === SUITE.MD5 ? 16 : 32)]),
    ),
    over((covered, suite) => {
      const size = suite === SUITE.MD5 ? 16 : 32;
      return Buffer.concat([covered, Buffer.of(0xe0, 0x21, 0, size), Buffer.alloc(size)]);
    }),
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

function inSlices(suspect: Suspect): { found: string | undefined; slices: number } {
  const steps = search(suspect);
  for (let slices = 1; ; slices++) {
    const { done, value } = steps.next();
    if (done) return { found: value, slices };
  }
}

const nearMiss = (suspect: Suspect): string | undefined => inSlices(suspect).found;

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
  // Its check digit is not 0.
  const terminal = { ...newTerminal(), serial: 'T100', imei: '868123000000019' };
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

const SECRET = 'a password of so many bytes';
const PASSWORDS: [name: string, stored: string, used: string][] = [
  ...[32, 64].map((size): [string, string, string] => ['password-padded', SECRET, SECRET.padEnd(size, '\0')]),
  ['password-padded', SECRET.slice(0, 7), SECRET.slice(0, 7).padEnd(8, '\0')],
  ...['\n', '\r\n', '\r', '\0', ' '].map((end): [string, string, string] => [
    ...(['password-line-end', SECRET, SECRET + end] as const),
  ]),
  ['password-line-end', `${SECRET}\r\n`, SECRET],
  ['password-line-end', `${SECRET} `, SECRET],
  ...[7, 8, 15, 16].map((size): [string, string, string] => [
    'password-cut-off',
    SECRET,
    SECRET.slice(0, size),
  ]),
  ...[31, 32, 63].map((size): [string, string, string] => [
    ...(['password-cut-off', SECRET.repeat(3), SECRET.repeat(3).slice(0, size)] as const),
  ]),
];

function suspectOf(frame: Buffer, terminal: Terminal, record: Partial<TerminalRecord> = {}, now = NOW) {
  const all = { ...recordOf(terminal), baseKey: undefined, changes: NO_CHANGES, ...record };
  return { message: messageOf(frame), record: all, replacedPassword: undefined, now: now * 1000 };
}

test.each(PASSWORDS)('%s: %j is stored, %j was used', (name, stored, used) => {
  const terminal = { ...newTerminal(), uplinkPassword: Buffer.from(stored) };
  const frame = mistaken(terminal, SUITE.MD5, { sign: { password: Buffer.from(used) } });
  expect(nearMiss(suspectOf(frame, terminal))).toBe(name);
});

test.each([-121, 121, -62 * 60, 62 * 60, -722 * 60, 842 * 60])(
  'a time that is %d s off is no near miss',
  (off) => {
    const terminal = newTerminal();
    const frame = mistaken(terminal, SUITE.MD5, { implicit: true, sign: { timestamp: MINUTE + off } });
    expect(nearMiss(suspectOf(frame, terminal))).toBeUndefined();
  },
);

test('a frame that tells its time is not searched for another', () => {
  const terminal = newTerminal();
  for (const off of [1, 61, -17 * 60, 8 * 3600]) {
    const frame = mistaken(terminal, SUITE.MD5, { sign: { timestamp: NOW + off } });
    expect(nearMiss(suspectOf(frame, terminal))).toBeUndefined();
  }
  const wrongly = login(terminal, { at: NOW - 60, password: terminal.downlinkPassword });
  expect(nearMiss(suspectOf(wrongly, terminal))).toBe('downlink-password');
});

test('a claimed identity is the one that counts', () => {
  const terminal = newTerminal();
  const claim = { imei: '868123000000019', imsi: '460001' };
  const frame = login(terminal, { at: NOW, claim, password: terminal.downlinkPassword });
  expect(nearMiss(suspectOf(frame, terminal))).toBe('downlink-password');
});

test('a frame under no password is no near miss of an empty one', () => {
  const terminal = newTerminal();
  const frame = mistaken(terminal, SUITE.MD5, { sign: { password: Buffer.alloc(0) } });
  expect(nearMiss({ ...suspectOf(frame, terminal), replacedPassword: Buffer.alloc(0) })).toBeUndefined();
});

test('times before 1970 are not searched', () => {
  const terminal = newTerminal();
  const frame = login(terminal, { at: 30, implicit: true, password: randomBytes(16) });
  expect(nearMiss(suspectOf(frame, terminal, {}, 30))).toBeUndefined();
});

test('an unsigned frame is no near miss', () => {
  const terminal = newTerminal();
  const frame = buildFrame({
    command: COMMAND.AUTH_CHALLENGE,
    serial: terminal.serial,
    tlvs: [[TAG.CLIENT_NONCE, Buffer.alloc(16)]],
  });
  expect(nearMiss(suspectOf(frame, terminal))).toBeUndefined();
});

test.each<[string, (terminal: Terminal) => Partial<Signing>]>([
  ['IMEI', ({ imei }) => ({ imei, imsi: '460020\0\0\0\0\0\0\0\0\0' })],
  ['IMSI', ({ imei }) => ({ imei: `${imei}\0`, imsi: '460020' })],
  ['both', ({ imei }) => ({ imei, imsi: '460020' })],
])('WMMP: %s without what pads it', (_name, sign) => {
  const terminal = { ...newTerminal(), imsi: '460020' };
  const frame = Buffer.from(wmmpLogin(terminal));
  const signing = { timestamp: 0, password: terminal.uplinkPassword, imei: '', imsi: '', ...sign(terminal) };
  frameDigest(SUITE.MD5, frame.subarray(0, frame.length - 20), signing).copy(frame, frame.length - 16);
  const suspect = { ...suspectOf(login(terminal), terminal), message: wmmpMessage(frame) };
  expect(nearMiss(suspect)).toBe('imei-without-nul');
});

test.each([-120, 119])('WMMP: the time of %d s from now under the digest', (off) => {
  const terminal = newTerminal();
  const frame = Buffer.from(wmmpLogin(terminal));
  const signing = { ...terminal, timestamp: NOW + off, password: terminal.uplinkPassword };
  wmmpFrameDigest(frame.subarray(0, frame.length - 20), signing).copy(frame, frame.length - 16);
  const suspect = { ...suspectOf(login(terminal), terminal), message: wmmpMessage(frame) };
  expect(nearMiss(suspect)).toBe('timestamp-not-zero');
});

test.each<[string, Signing['imei'], Signing['imsi']]>([
  ['one NUL each', '868123000000019\0', '460020\0'],
  ['16 bytes each', '868123000000019\0', '460020'.padEnd(16, '\0')],
])('a short IMSI, in fields of %s', (_name, imei, imsi) => {
  const terminal = { ...newTerminal(), imei: '868123000000019', imsi: '460020' };
  const frame = mistaken(terminal, SUITE.MD5, { sign: { imei, imsi } });
  expect(nearMiss(suspectOf(frame, terminal))).toBe('imei-with-nul');
});

test('a search may be interrupted after every 32 digests', () => {
  const terminal = newTerminal();
  const wrong = { at: NOW, password: randomBytes(16) };
  const [told, leftOut] = [false, true].map((implicit) =>
    inSlices(suspectOf(login(terminal, { ...wrong, implicit }), terminal)),
  );
  // Ten times as many where the time may be the mistake.
  expect([told, leftOut]).toEqual([
    { found: undefined, slices: 2 },
    { found: undefined, slices: 17 },
  ]);
});
