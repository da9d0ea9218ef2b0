/** The tables against the protocol's page, whose numbers the oracle repeats. */
import { targetNames } from '../../src/protocol/changeTargets';
import { decode } from '../../src/protocol/decode';
import {
  commandName,
  commandRow,
  COMMAND_NAMES,
  COMMANDS,
  disconnectReasonName,
  DISCONNECT_REASONS,
  REFUSAL_RESPONSE,
  UNSIGNED_RESPONSE,
  type BodyShape,
} from '../../src/protocol/commands';
import { FAULTS, faultText, isFault, fault, type FaultName } from '../../src/protocol/faults';
import { readHeader } from '../../src/protocol/header';
import { headerJudge } from '../../src/protocol/judge';
import { resultLabel, resultName, RESULT_NAMES, RESULTS } from '../../src/protocol/results';
import { isSignedSuite, SUITES } from '../../src/protocol/suites';
import { fieldOf, FIELD_NAMES, isSkippable, rowOf, TAGS, wireName } from '../../src/protocol/tags';
import { buildFrame, COMMAND, RESPONSE, RESULT, TAG, type FrameParts, type Tlv } from '../support/oracle';

const unique = (values: readonly unknown[]) => new Set(values).size === values.length;

describe('tags', () => {
  test('are those of the page, by their wire names', () => {
    expect(Object.fromEntries(FIELD_NAMES.map((name) => [wireName(name), TAGS[name].tag]))).toEqual(TAG);
  });

  test('are unique, found by number, and none may be skipped', () => {
    expect(unique(FIELD_NAMES.map((name) => TAGS[name].tag))).toBe(true);
    for (const name of FIELD_NAMES) {
      expect(fieldOf(TAGS[name].tag)).toBe(name);
      expect(isSkippable(TAGS[name].tag)).toBe(false);
    }
  });

  test('exactly 0x7000 to 0x7FFF may be skipped', () => {
    const skipped = Array.from({ length: 0x10000 }, (_, tag) => tag).filter(isSkippable);
    expect([skipped[0], skipped.at(-1), skipped.length]).toEqual([0x7000, 0x7fff, 0x1000]);
  });

  test('have lengths as the page says', () => {
    const lengths = Object.fromEntries(
      FIELD_NAMES.map((name) => {
        const { codec } = rowOf(name);
        const taken = [];
        for (let size = codec.min; size <= codec.max; size++) {
          if ([0, 1, 0x31].some((byte) => codec.read(Buffer.alloc(size, byte)) !== undefined))
            taken.push(size);
        }
        const run = taken.length > 2;
        return [wireName(name), run ? `${taken[0]} to ${taken.at(-1)}` : taken.join(' or ')];
      }),
    );
    // prettier-ignore
    expect(lengths).toEqual({
      TIMESTAMP: '4', IMEI: '15', IMSI: '6 to 15', FIRMWARE: '1 to 64', SESSION_KEY_REQUEST: '0',
      BASE_KEY_DIGEST: '16', SESSION_ID: '8', SESSION_KEY: '24 or 40', SESSION_TTL: '4', HEARTBEAT_INTERVAL: '2',
      RETRY_AFTER: '4', REQUEST_DIGEST: '16 or 32', CHANGE_TARGETS: '1', CHANGE_DELIVERY: '1', CHANGE_ID: '4',
      NEW_UPLINK_PASSWORD: '24', NEW_DOWNLINK_PASSWORD: '24', NEW_BASE_KEY: '24 or 40', CLIENT_NONCE: '16',
      SERVER_NONCE: '16', FIRST_CODE: '32', THIRD_CODE: '40', CREDENTIAL_PACKET: '33 to 1024',
      HARDWARE_ID: '1 to 64', DISCONNECT_REASON: '1', DIGEST: '16 or 32',
    });
  });

  test('those that carry secrets, codes or digests are marked', () => {
    const marked = FIELD_NAMES.filter((name) => TAGS[name].secret).map(wireName);
    // prettier-ignore
    expect(marked.sort()).toEqual([
      'BASE_KEY_DIGEST', 'CREDENTIAL_PACKET', 'DIGEST', 'FIRST_CODE', 'NEW_BASE_KEY', 'NEW_DOWNLINK_PASSWORD',
      'NEW_UPLINK_PASSWORD', 'REQUEST_DIGEST', 'SESSION_KEY', 'THIRD_CODE',
    ]);
  });
});

describe('commands', () => {
  test('are those of the page', () => {
    expect(Object.fromEntries(COMMAND_NAMES.map((name) => [name, COMMANDS[name].code]))).toEqual(COMMAND);
    expect(unique(COMMAND_NAMES.map((name) => COMMANDS[name].code))).toBe(true);
  });

  test('are found by code, with the response bit and without; other codes are none', () => {
    const named = COMMAND_NAMES.map((name) => [COMMANDS[name].code, name] as const);
    const byCode = new Map<number, string>(named);
    const codes = Array.from({ length: 0x10000 }, (_, code) => code);
    expect(codes.filter((code) => commandName(code) !== byCode.get(code & 0x7fff))).toEqual([]);
  });

  test('direction, signature and what is served before login', () => {
    const told = COMMAND_NAMES.map((name) => {
      const { direction, signed, opensSession, response } = commandRow(name);
      return [name, direction, signed, opensSession, response !== undefined];
    });
    expect(told).toEqual([
      ['LOGIN', 'uplink', 'yes', true, true],
      ['LOGOUT', 'uplink', 'yes', false, true],
      ['HEARTBEAT', 'uplink', 'yes', false, true],
      ['SESSION_KEY', 'uplink', 'yes', false, true],
      ['CREDENTIAL_CHANGE', 'uplink', 'yes', false, true],
      ['CREDENTIAL_CONFIRM', 'uplink', 'yes', false, true],
      ['CREDENTIAL_NOTICE', 'downlink', 'yes', false, true],
      ['AUTH_CHALLENGE', 'uplink', 'no', true, true],
      ['AUTH_PROOF', 'uplink', 'yes', true, true],
      ['DISCONNECT', 'downlink', 'by-session', false, false],
    ]);
  });

  const shapes = COMMAND_NAMES.flatMap((name): [string, BodyShape | undefined][] => [
    [`${name} request`, commandRow(name).request],
    [`${name} response`, commandRow(name).response],
  ]);
  const all = [...shapes, ['refusal', REFUSAL_RESPONSE], ['unsigned', UNSIGNED_RESPONSE]] as const;

  test.each(all)('shape of %s is sound', (_, shape) => {
    if (shape === undefined) return;
    const { order, required, permitted, pairs } = shape;
    expect(unique(order)).toBe(true);
    for (const name of order) expect(FIELD_NAMES).toContain(name);
    expect(order).not.toContain('digest');
    expect([...permitted]).toEqual(order);
    for (const name of [...required, ...pairs.flat()]) expect(order).toContain(name);
    // A pair whose halves differ in being required would be a pair in name only.
    for (const [one, other] of pairs) expect(required.includes(one)).toBe(required.includes(other));
  });

  test('every field but the digest belongs to some shape', () => {
    const used = new Set<string>(all.flatMap(([, shape]) => shape?.order ?? []));
    expect(FIELD_NAMES.filter((name) => !used.has(name))).toEqual(['digest']);
  });

  test('reasons of a disconnect are 1 to 6, and found by number', () => {
    expect(Object.values(DISCONNECT_REASONS).sort()).toEqual([1, 2, 3, 4, 5, 6]);
    for (const [name, code] of Object.entries(DISCONNECT_REASONS))
      expect(disconnectReasonName(code)).toBe(name);
    expect([0, 7].map(disconnectReasonName)).toEqual([undefined, undefined]);
  });

  test('targets of a change by their bits, lowest first', () => {
    expect([0, 1, 2, 4, 5, 7].map((mask) => targetNames(mask).join(' '))).toEqual([
      ...['', 'uplink', 'downlink', 'base_key', 'uplink base_key', 'uplink downlink base_key'],
    ]);
  });
});

describe('results', () => {
  test('are those of the page, and found by code', () => {
    expect(Object.fromEntries(RESULT_NAMES.map((name) => [name, RESULTS[name].code]))).toEqual(RESULT);
    for (let code = 0; code < 256; code++) {
      expect(resultName(code)).toBe(RESULT_NAMES.find((name) => RESULT[name] === code));
    }
  });

  test('which are signed, and which close the connection', () => {
    expect(RESULT_NAMES.filter((name) => RESULTS[name].signed).map((name) => RESULT[name])).toEqual([
      0, 2, 3, 4, 5, 11, 12, 13,
    ]);
    expect(RESULT_NAMES.filter((name) => RESULTS[name].closes)).toEqual(['MALFORMED', 'UNSUPPORTED_VERSION']);
  });

  test('labels', () => {
    expect(resultLabel('OK')).toBe('ok');
    expect(resultLabel('WAIT_FOR_SMS')).toBe('wait-for-sms');
    expect(unique(RESULT_NAMES.map(resultLabel))).toBe(true);
  });
});

test('suites', () => {
  expect([0, 1, 2, 3, 9, 255].filter(isSignedSuite)).toEqual([1, 2]);
  expect([SUITES[1].digestSize, SUITES[2].digestSize]).toEqual([16, 32]);
});

describe('faults', () => {
  const LOGIN: FrameParts = { command: COMMAND.LOGIN, serial: 'S', suite: 1, digest: Buffer.alloc(16) };
  const CHALLENGE: FrameParts = { command: COMMAND.AUTH_CHALLENGE, serial: 'S', suite: 0 };
  const stamp: Tlv = [TAG.TIMESTAMP, Buffer.alloc(4)];
  const nonce: Tlv = [TAG.CLIENT_NONCE, Buffer.alloc(16)];
  const body = (parts: FrameParts, ...tlvs: Tlv[]) => buildFrame({ ...parts, tlvs });
  const tail = (bytes: string) => {
    const frame = Buffer.concat([body(CHALLENGE, nonce), Buffer.from(bytes, 'hex')]);
    frame.writeUInt16BE(frame.length, 0);
    return frame;
  };

  /** One input for each fault that these layers find. */
  const INPUTS: Partial<Record<FaultName, Buffer>> = {
    'length-too-short': body({ ...LOGIN, length: 27 }),
    'length-too-long': body({ ...LOGIN, length: 4097 }),
    'version-unknown': body({ ...LOGIN, version: 0x0500 }),
    'command-unknown': body({ ...LOGIN, command: 0x0777 }),
    'result-in-request': body({ ...LOGIN, result: 1 }),
    'serial-invalid': body({ ...LOGIN, serial: '' }),
    'suite-unknown': body({ ...LOGIN, suite: 9 }),
    'suite-unsigned': body({ ...LOGIN, suite: 0 }),
    'suite-on-unsigned': body({ ...CHALLENGE, suite: 1, digest: Buffer.alloc(16) }, nonce),
    'tlv-truncated': tail('7000'),
    'tlv-overrun': tail('70000001'),
    'tag-unknown': tail('6fff0000'),
    'tag-twice': tail('7000000070000000'),
    'tag-skippable-under-md5': body(LOGIN, [0x7000, Buffer.alloc(0)]),
    'tag-not-here': body(LOGIN, nonce),
    'tag-missing': body(CHALLENGE),
    'tag-alone': body(LOGIN, [TAG.IMSI, Buffer.from('460001')]),
    'value-length': body(LOGIN, [TAG.TIMESTAMP, Buffer.alloc(3)]),
    'value-invalid': body(LOGIN, [TAG.FIRMWARE, Buffer.from('\n')]),
    'digest-missing': body({ ...LOGIN, digest: null }, stamp),
    'digest-not-last': body(LOGIN, [TAG.DIGEST, Buffer.alloc(16)]),
    'digest-length': body({ ...LOGIN, digest: Buffer.alloc(32) }),
    'digest-unsigned': body({ ...CHALLENGE, digest: Buffer.alloc(16) }, nonce),
  };
  /** Found by those who know more than the bytes: the other side of the wire or dialect, a file's end, the connection's session. */
  const ELSEWHERE: FaultName[] = [
    'body-too-short',
    'command-not-downlink',
    'dialect-changed',
    'frame-incomplete',
    'serial-changed',
  ];

  test.each(Object.entries(INPUTS))('%s', (name, bytes) => {
    const header = readHeader(bytes);
    const found = headerJudge(4096)(header) ?? decode(header, bytes);
    if (!isFault(found)) throw new Error('taken');
    expect(found.name).toBe(name);
    expect(found.offset).toBeLessThanOrEqual(bytes.length);
    expect(faultText(found)).toContain(`offset ${found.offset}: `);
    expect(faultText(found)).toContain(FAULTS[found.name].text);
  });

  test('every row is found by some input', () => {
    expect([...Object.keys(INPUTS), ...ELSEWHERE].sort()).toEqual(Object.keys(FAULTS).sort());
  });

  test('all are MALFORMED, but those of version and suite', () => {
    const others = Object.entries(FAULTS).filter(([, { result }]) => result !== 'MALFORMED');
    expect(others.map(([name, { result }]) => [name, result])).toEqual([
      ['version-unknown', 'UNSUPPORTED_VERSION'],
      ['suite-unknown', 'UNSUPPORTED_SUITE'],
      ['suite-unsigned', 'UNSUPPORTED_SUITE'],
    ]);
  });

  test('as text, with the subject where there is one', () => {
    expect(faultText(fault('digest-missing', 36))).toBe('offset 36: digest is missing (digest-missing)');
    expect(faultText(fault('tag-unknown', 28, '0x6abc'))).toBe(
      'offset 28: 0x6abc: tag is not known and not one that may be skipped (tag-unknown)',
    );
  });

  test('a response to DISCONNECT has no shape', () => {
    const bytes = body({ command: RESPONSE | COMMAND.DISCONNECT, serial: 'S' });
    expect(decode(readHeader(bytes), bytes)).toMatchObject({ name: 'command-unknown', offset: 2 });
  });
});
