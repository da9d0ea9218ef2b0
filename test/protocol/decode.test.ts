/** decode() against a grammar written a second time from the page: what it takes, and where it says what is wrong. */
import fc from 'fast-check';
import { decode, type Message } from '../../src/protocol/decode';
import { FAULTS, isFault, type Fault } from '../../src/protocol/faults';
import { readHeader } from '../../src/protocol/header';
import { buildFrame, COMMAND, parse, RESPONSE, RESULT, TAG, u16, u32, u8 } from '../support/oracle';
import type { FrameParts, Tlv } from '../support/oracle';
import file from '../vectors/frames.json';

type TagName = keyof typeof TAG;
const outcome = (bytes: Buffer): Message | Fault => decode(readHeader(bytes), bytes);

const size =
  (...sizes: number[]) =>
  (value: Buffer) =>
    sizes.includes(value.length);
const between = (low: number, high: number) => (value: Buffer) => value.length >= low && value.length <= high;
const matches = (pattern: RegExp) => (value: Buffer) => pattern.test(value.toString('latin1'));
const upTo = (low: number, high: number) => (value: Buffer) =>
  value.length === 1 && value[0]! >= low && value[0]! <= high;

/** Section 1. */
const VALUES: Record<TagName, (value: Buffer) => boolean> = {
  TIMESTAMP: size(4),
  IMEI: matches(/^\d{15}$/),
  IMSI: matches(/^\d{6,15}$/),
  FIRMWARE: matches(/^[ -~]{1,64}$/),
  SESSION_KEY_REQUEST: size(0),
  BASE_KEY_DIGEST: size(16),
  SESSION_ID: size(8),
  SESSION_KEY: size(24, 40),
  SESSION_TTL: size(4),
  HEARTBEAT_INTERVAL: size(2),
  RETRY_AFTER: size(4),
  REQUEST_DIGEST: size(16, 32),
  CHANGE_TARGETS: upTo(1, 7),
  CHANGE_DELIVERY: upTo(0, 3),
  CHANGE_ID: (value) => value.length === 4 && value.some((byte) => byte !== 0),
  NEW_UPLINK_PASSWORD: size(24),
  NEW_DOWNLINK_PASSWORD: size(24),
  NEW_BASE_KEY: size(24, 40),
  CLIENT_NONCE: size(16),
  SERVER_NONCE: size(16),
  FIRST_CODE: size(32),
  THIRD_CODE: size(40),
  CREDENTIAL_PACKET: between(33, 1024),
  HARDWARE_ID: between(1, 64),
  DISCONNECT_REASON: upTo(1, 6),
  DIGEST: size(16, 32),
};
const NAMES = new Map(Object.entries(TAG).map(([name, tag]) => [tag as number, name as TagName]));

const LOGIN_ANSWER =
  'TIMESTAMP REQUEST_DIGEST SESSION_ID SESSION_TTL HEARTBEAT_INTERVAL SESSION_KEY? CHANGE_TARGETS?';
/** Section 3; the key is the command as it stands in the header. */
const GRAMMAR: Record<number, string> = {
  [COMMAND.LOGIN]: 'TIMESTAMP? IMEI? IMSI? FIRMWARE? SESSION_KEY_REQUEST? BASE_KEY_DIGEST?',
  [COMMAND.LOGOUT]: 'TIMESTAMP?',
  [COMMAND.HEARTBEAT]: 'TIMESTAMP?',
  [COMMAND.SESSION_KEY]: 'TIMESTAMP? BASE_KEY_DIGEST',
  [COMMAND.CREDENTIAL_CHANGE]: 'TIMESTAMP? CHANGE_TARGETS CHANGE_DELIVERY? BASE_KEY_DIGEST?',
  [COMMAND.CREDENTIAL_CONFIRM]: 'TIMESTAMP? CHANGE_ID BASE_KEY_DIGEST?',
  [COMMAND.CREDENTIAL_NOTICE]: 'TIMESTAMP SESSION_ID CHANGE_TARGETS',
  [COMMAND.AUTH_CHALLENGE]: 'CLIENT_NONCE',
  [COMMAND.AUTH_PROOF]:
    'TIMESTAMP IMEI IMSI HARDWARE_ID SERVER_NONCE THIRD_CODE CREDENTIAL_PACKET FIRMWARE? SESSION_KEY_REQUEST? BASE_KEY_DIGEST?',
  [COMMAND.DISCONNECT]: 'TIMESTAMP? SESSION_ID? DISCONNECT_REASON RETRY_AFTER?',
  [RESPONSE | COMMAND.LOGIN]: LOGIN_ANSWER,
  [RESPONSE | COMMAND.LOGOUT]: 'TIMESTAMP REQUEST_DIGEST',
  [RESPONSE | COMMAND.HEARTBEAT]: 'TIMESTAMP REQUEST_DIGEST',
  [RESPONSE | COMMAND.SESSION_KEY]: 'TIMESTAMP REQUEST_DIGEST SESSION_ID SESSION_KEY',
  [RESPONSE | COMMAND.CREDENTIAL_CHANGE]:
    'TIMESTAMP REQUEST_DIGEST CHANGE_ID CHANGE_TARGETS NEW_UPLINK_PASSWORD? NEW_DOWNLINK_PASSWORD? NEW_BASE_KEY?',
  [RESPONSE | COMMAND.CREDENTIAL_CONFIRM]: 'TIMESTAMP REQUEST_DIGEST CHANGE_ID',
  [RESPONSE | COMMAND.CREDENTIAL_NOTICE]: 'TIMESTAMP? REQUEST_DIGEST',
  [RESPONSE | COMMAND.AUTH_CHALLENGE]: 'SERVER_NONCE TIMESTAMP FIRST_CODE',
  [RESPONSE | COMMAND.AUTH_PROOF]: LOGIN_ANSWER,
};
const COMPANIONS: [number, TagName, TagName][] = [
  [COMMAND.LOGIN, 'IMEI', 'IMSI'],
  [COMMAND.LOGIN, 'SESSION_KEY_REQUEST', 'BASE_KEY_DIGEST'],
  [COMMAND.AUTH_PROOF, 'SESSION_KEY_REQUEST', 'BASE_KEY_DIGEST'],
  [COMMAND.DISCONNECT, 'TIMESTAMP', 'SESSION_ID'],
];

/** Whether a frame with result 0 and a known suite is one of the page. */
function isOfThePage(bytes: Buffer): boolean {
  try {
    const { command, suite, tlvs, digest } = parse(bytes);
    const grammar = GRAMMAR[command]?.split(' ');
    if (grammar === undefined || !digestFits(command, suite, digest)) return false;
    const names = [...tlvs.keys()].map(
      (tag) => NAMES.get(tag) ?? (tag >> 12 === 7 && suite !== 1 ? 'skip' : 'bad'),
    );
    const known = names.filter((name) => name !== 'skip');
    return (
      known.every((name) => grammar.includes(name) || grammar.includes(`${name}?`)) &&
      known.every((name) => VALUES[name as TagName](tlvs.get(TAG[name as TagName])!)) &&
      grammar.every((name) => name.endsWith('?') || names.includes(name as TagName)) &&
      COMPANIONS.every(([of, a, b]) => of !== command || names.includes(a) === names.includes(b))
    );
  } catch {
    return false;
  }
}

function digestFits(command: number, suite: number, digest: Buffer | undefined): boolean {
  if (suite === 0) return digest === undefined;
  return (command & ~RESPONSE) !== COMMAND.AUTH_CHALLENGE && digest?.length === [0, 16, 32][suite];
}

const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((some) => Buffer.from(some));
const digits = (minLength: number, maxLength: number) =>
  fc
    .string({ unit: fc.constantFrom(...'0123456789'), minLength, maxLength })
    .map((text) => Buffer.from(text));
const oneByte = (max: number) => fc.nat({ max }).map(u8);
/** Mostly values of the right kind. */
const RIGHT: Partial<Record<TagName, fc.Arbitrary<Buffer>>> = {
  IMEI: digits(15, 15),
  IMSI: digits(6, 15),
  FIRMWARE: fc.string({ minLength: 1, maxLength: 64 }).map((text) => Buffer.from(text, 'latin1')),
  CHANGE_TARGETS: oneByte(8),
  CHANGE_DELIVERY: oneByte(4),
  DISCONNECT_REASON: oneByte(7),
  CREDENTIAL_PACKET: bytes(33, 200),
  HARDWARE_ID: bytes(1, 64),
};
const sizeOf = (name: TagName) =>
  [0, 1, 2, 4, 8, 16, 24, 32, 40].find((n) => VALUES[name](Buffer.alloc(n, 1)));
const valueOf = (name: TagName) => RIGHT[name] ?? bytes(sizeOf(name) ?? 0);
const anyTlv: fc.Arbitrary<Tlv> = fc.oneof(
  fc.constantFrom(...NAMES.entries()).chain(([tag, name]) => valueOf(name).map((value): Tlv => [tag, value])),
  fc.tuple(fc.constantFrom(...NAMES.keys()), bytes(0, 48)),
  fc.tuple(fc.integer({ min: 0x6ffe, max: 0x8001 }), bytes(0, 8)),
);

/** Frames by the grammar, some of them with something missing, doubled, foreign, damaged or cut off. */
const structured: fc.Arbitrary<Buffer> = fc
  .record({
    command: fc.constantFrom(...Object.keys(GRAMMAR).map(Number), RESPONSE | COMMAND.DISCONNECT, 0x0777),
    suite: fc.constantFrom(0, 1, 2),
    odd: fc.option(fc.array(anyTlv, { maxLength: 3 }), { nil: [], freq: 1 }),
    order: fc.infiniteStream(fc.nat()),
    seldom: fc.infiniteStream(fc.nat({ max: 15 })),
    digest: fc.oneof(
      { weight: 9, arbitrary: fc.constant(undefined) },
      fc.option(bytes(0, 40), { nil: null }),
    ),
    damage: fc.option(fc.tuple(fc.nat({ max: 200 }), fc.nat({ max: 255 })), { freq: 3, nil: undefined }),
  })
  .chain(({ command, suite, odd, order, seldom, digest, damage }) => {
    const names = (GRAMMAR[command] ?? '').split(' ').filter((name) => name !== '');
    const drop = (name: string) =>
      name.endsWith('?') ? seldom.next().value! < 8 : seldom.next().value! === 0;
    const kept = names.filter((name) => !drop(name)).map((name) => name.replace('?', '') as TagName);
    return fc
      .tuple(...kept.map((name) => valueOf(name).map((value): Tlv => [TAG[name], value])))
      .map((own) => {
        const tlvs = [...own, ...odd]
          .map((one) => [order.next().value!, one] as const)
          .sort(([a], [b]) => a - b);
        const right = suite === 0 ? null : Buffer.alloc(16 * suite, 0xdd);
        const frame = buildFrame({
          command,
          suite,
          serial: 'T-1',
          tlvs: tlvs.map(([, one]) => one),
          digest: digest === undefined ? right : digest,
        });
        if (damage !== undefined && damage[0] < frame.length - 28) frame[28 + damage[0]] = damage[1];
        return frame;
      });
  });

const vectors = (file.vectors as { hex?: string }[]).flatMap(({ hex }) =>
  hex ? [Buffer.from(hex, 'hex')] : [],
);
const mutated = fc
  .tuple(
    fc.constantFrom(...vectors),
    fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 })), { maxLength: 4 }),
  )
  .map(([vector, changes]) => {
    const frame = Buffer.from(vector);
    for (const [at, value] of changes) frame[at % frame.length] = value;
    return frame;
  });

function expectNamed(found: Message | Fault, frame: Buffer): void {
  if (!isFault(found)) return;
  expect(Object.keys(FAULTS)).toContain(found.name);
  expect(found.offset).toBeGreaterThanOrEqual(0);
  expect(found.offset).toBeLessThanOrEqual(frame.length);
}

describe('no input throws, and only named faults come out', () => {
  test.each([
    ['random bytes', bytes(28, 300)],
    ['mutated vectors', mutated],
    ['structured frames', structured],
  ])('%s', (_, frames) => {
    fc.assert(
      fc.property(frames, (frame) => expectNamed(outcome(frame), frame)),
      { numRuns: 500 },
    );
  });
});

describe('takes exactly the frames of the page', () => {
  test('structured frames', () => {
    const taken = { yes: 0, no: 0 };
    fc.assert(
      fc.property(structured, (frame) => {
        const expected = isOfThePage(frame);
        taken[expected ? 'yes' : 'no']++;
        expect(isFault(outcome(frame))).toBe(!expected);
      }),
      { numRuns: 1500 },
    );
    // Both sides were tried.
    expect(Math.min(taken.yes, taken.no)).toBeGreaterThan(150);
  });

  test('mutated vectors whose header is untouched', () => {
    const body = mutated.filter(
      (frame) => frame[11] === 0 && frame[10]! <= 2 && frame.readUInt16BE(0) === frame.length,
    );
    fc.assert(
      fc.property(body, (frame) => expect(isFault(outcome(frame))).toBe(!isOfThePage(frame))),
      { numRuns: 1000 },
    );
  });

  test('TLVs in any order', () => {
    const tlvs: Tlv[] = [
      [TAG.BASE_KEY_DIGEST, Buffer.alloc(16)],
      [TAG.IMSI, Buffer.from('460001')],
      [0x7fff, Buffer.from('skipped')],
      [TAG.SESSION_KEY_REQUEST, Buffer.alloc(0)],
      [TAG.IMEI, Buffer.from('868123000000019')],
      [TAG.TIMESTAMP, u32(7)],
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(tlvs, { minLength: tlvs.length }), (some) => {
        expect(outcome(frameOf({ suite: 2, digest: Buffer.alloc(32), tlvs: some }))).toMatchObject({
          command: 'LOGIN',
          fields: { timestamp: 7, imei: '868123000000019', imsi: '460001', sessionKeyRequest: true },
        });
      }),
    );
  });
});

const frameOf = (parts: Partial<FrameParts>) =>
  buildFrame({ command: COMMAND.LOGIN, serial: 'T-1', suite: 1, digest: Buffer.alloc(16), ...parts });
const head = (tag: number, length: number) => Buffer.concat([u16(tag), u16(length)]);
/** With bytes behind all else, and the length corrected for them. */
function withTail(frame: Buffer, tail: Buffer): Buffer {
  const whole = Buffer.concat([frame, tail]);
  u16(whole.length).copy(whole);
  return whole;
}

describe('faults point at what is wrong', () => {
  const stamp: Tlv = [TAG.TIMESTAMP, u32(1)];
  const bare = frameOf({ tlvs: [stamp], digest: null });
  const CASES: [name: string, offset: number, frame: Buffer, subject?: string][] = [
    ['tlv-truncated', 56, withTail(frameOf({ tlvs: [stamp] }), Buffer.alloc(3))],
    ['tlv-truncated', 36, withTail(bare, Buffer.alloc(1))],
    ['tlv-overrun', 36, withTail(bare, head(TAG.DIGEST, 1)), '0xe021'],
    ['tag-twice', 36, frameOf({ tlvs: [stamp, stamp] }), '0xf001'],
    ['tag-unknown', 36, frameOf({ tlvs: [stamp, [0x6fff, Buffer.alloc(2)]] }), '0x6fff'],
    ['tag-unknown', 28, frameOf({ tlvs: [[0x8000, Buffer.alloc(2)]] }), '0x8000'],
    ['tag-skippable-under-md5', 28, frameOf({ tlvs: [[0x7000, Buffer.alloc(2)]] }), '0x7000'],
    ['tag-not-here', 28, frameOf({ tlvs: [[TAG.CHANGE_ID, u32(1)]] }), 'CHANGE_ID'],
    ['tag-missing', 48, frameOf({ command: COMMAND.SESSION_KEY }), 'BASE_KEY_DIGEST'],
    ['tag-alone', 59, frameOf({ tlvs: [[TAG.IMSI, Buffer.from('4600012')]] }), 'IMSI'],
    ['value-length', 28, frameOf({ tlvs: [[TAG.TIMESTAMP, Buffer.alloc(5)]] }), 'TIMESTAMP of 5'],
    ['value-invalid', 36, frameOf({ tlvs: [stamp, [TAG.FIRMWARE, Buffer.from('\x7f')]] }), 'FIRMWARE'],
    ['digest-missing', 36, bare],
    ['digest-not-last', 36, frameOf({ tlvs: [stamp, [TAG.DIGEST, Buffer.alloc(16)]] })],
    ['digest-length', 36, frameOf({ tlvs: [stamp], digest: Buffer.alloc(32) })],
    ['digest-length', 36, frameOf({ tlvs: [stamp], suite: 2 })],
    ['digest-length', 36, frameOf({ tlvs: [stamp], digest: Buffer.alloc(0) })],
    ['digest-unsigned', 36, frameOf({ tlvs: [stamp], suite: 0 })],
    ['suite-on-unsigned', 10, frameOf({ command: COMMAND.AUTH_CHALLENGE })],
  ];
  const named = CASES.map(([name, offset, frame, subject]) => ({ name, offset, frame, subject }));
  test.each(named)('$name at $offset', ({ name, offset, frame, subject }) => {
    const found = outcome(frame) as Fault;
    expect([found.name, found.offset, found.subject]).toEqual([name, offset, subject]);
  });
});

describe('values at their bounds', () => {
  const value = (command: number, tag: number, ...values: Buffer[]) => ({ command, tag, values });
  const text = (length: number, character = '1') => Buffer.alloc(length, character, 'latin1');
  const CASES = {
    taken: [
      value(COMMAND.HEARTBEAT, TAG.TIMESTAMP, u32(0), u32(0xffffffff)),
      value(COMMAND.LOGIN, TAG.FIRMWARE, text(1, ' '), text(64, '~')),
      value(COMMAND.CREDENTIAL_CHANGE, TAG.CHANGE_TARGETS, u8(1), u8(7)),
      value(COMMAND.CREDENTIAL_CONFIRM, TAG.CHANGE_ID, u32(1), u32(0xffffffff)),
      value(COMMAND.DISCONNECT, TAG.DISCONNECT_REASON, u8(1), u8(6)),
      value(RESPONSE | COMMAND.CREDENTIAL_NOTICE, TAG.REQUEST_DIGEST, text(16), text(32)),
    ],
    refused: [
      value(COMMAND.HEARTBEAT, TAG.TIMESTAMP, text(0), text(3), text(5)),
      value(
        COMMAND.LOGIN,
        TAG.FIRMWARE,
        text(0),
        text(65),
        text(1, '\x1f'),
        text(1, '\x7f'),
        text(2, '\x80'),
      ),
      value(COMMAND.CREDENTIAL_CHANGE, TAG.CHANGE_TARGETS, u8(0), u8(8), u8(255), text(0), text(2)),
      value(COMMAND.CREDENTIAL_CONFIRM, TAG.CHANGE_ID, u32(0), text(3), text(8)),
      value(COMMAND.DISCONNECT, TAG.DISCONNECT_REASON, u8(0), u8(7)),
      value(RESPONSE | COMMAND.CREDENTIAL_NOTICE, TAG.REQUEST_DIGEST, text(15), text(17), text(24), text(33)),
    ],
  };
  const flat = (cases: typeof CASES.taken) =>
    cases.flatMap(({ command, tag, values }) =>
      values.map((one) => ({
        name: NAMES.get(tag)!,
        hex: one.toString('hex'),
        frame: frameOf({ command, tlvs: [[tag, one]] }),
      })),
    );

  test.each(flat(CASES.taken))('$name $hex is taken', ({ frame }) =>
    expect(outcome(frame)).not.toHaveProperty('offset'),
  );
  test.each(flat(CASES.refused))('$name $hex is refused', ({ frame, name }) => {
    expect((outcome(frame) as Fault).name).toMatch(/^value-(length|invalid)$/);
    expect((outcome(frame) as Fault).subject).toContain(name);
  });

  const claiming = (imsi: string): Tlv[] => [
    [TAG.IMEI, text(15)],
    [TAG.IMSI, Buffer.from(imsi)],
  ];

  test.each(['123456', '460001234567890'])('IMSI %s is taken', (imsi) => {
    expect(outcome(frameOf({ tlvs: claiming(imsi) }))).toMatchObject({ fields: { imsi } });
  });

  const NOT_IMSI = ['12345', '4600012345678901', '46000123456789a', '460001\n', ' 460001', ''];
  test.each(NOT_IMSI)('IMSI %j is refused', (imsi) => {
    expect((outcome(frameOf({ tlvs: claiming(imsi) })) as Fault).subject).toContain('IMSI');
  });
});

describe('responses: the result decides which TLVs stand in them', () => {
  const SIGNED = new Set([2, 3, 4, 5, 11, 13]);
  const refusal: Tlv[] = [
    [TAG.TIMESTAMP, u32(1)],
    [TAG.REQUEST_DIGEST, Buffer.alloc(16)],
  ];
  const response = (result: number, parts: Partial<FrameParts>) =>
    outcome(frameOf({ command: RESPONSE | COMMAND.LOGIN, result, ...parts }));

  test.each(Object.entries(RESULT).filter(([name]) => name !== 'OK' && name !== 'WAIT_FOR_SMS'))(
    '%s',
    (_, result) => {
      const signed = response(result, { tlvs: refusal });
      const unsigned = response(result, { suite: 0, digest: null });
      expect([isFault(signed), isFault(unsigned)]).toEqual(
        SIGNED.has(result) ? [false, true] : [true, false],
      );
    },
  );

  test('RETRY_AFTER in an unsigned one', () => {
    const tlvs: Tlv[] = [[TAG.RETRY_AFTER, u32(2500)]];
    expect(response(RESULT.BUSY, { suite: 0, digest: null, tlvs })).toMatchObject({
      fields: { retryAfter: 2500 },
    });
  });
});

test('what is decoded are views into the frame, and the digest is not among the fields', () => {
  const frame = frameOf({ tlvs: [[TAG.TIMESTAMP, u32(5)]], digest: Buffer.alloc(16, 9) });
  expect(outcome(frame)).toMatchObject({
    command: 'LOGIN',
    isResponse: false,
    fields: { timestamp: 5 },
    digest: Buffer.alloc(16, 9),
    covered: frame.subarray(0, 36),
  });
});
