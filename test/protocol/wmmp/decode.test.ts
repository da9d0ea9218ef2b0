/** WMMP 3.0 against frames of the oracle: what is read out of them, and what is wrong with which byte. */
import fc from 'fast-check';
import { isFault, type Fault } from '../../../src/protocol/faults';
import { Framer } from '../../../src/protocol/framer';
import { readHeader } from '../../../src/protocol/header';
import { headerJudge } from '../../../src/protocol/judge';
import {
  WMMP_COMMAND_NAMES,
  WMMP_COMMANDS,
  wmmpBody,
  wmmpCommandName,
} from '../../../src/protocol/wmmp/commands';
import { decodeWmmp, type WmmpMessage } from '../../../src/protocol/wmmp/decode';
import { encodeWmmp } from '../../../src/protocol/wmmp/encode';
import { WMMP_TAG_NAMES, WMMP_TAGS } from '../../../src/protocol/wmmp/tags';
import { newTerminal } from '../../support/operator';
import { tlv, u16, u32, u8, type Tlv } from '../../support/oracle';
import {
  securityConfig,
  securityConfigAnswer,
  securityConfigPlain,
  shownBaseKey,
  uplink,
  WMMP,
  WMMP_TAG,
  wmmpFrame,
  wmmpHeartbeat,
  wmmpLogin,
  wmmpLoginAnswer,
  wmmpLogout,
  wmmpTlvs,
} from '../../support/wmmpOracle';

const terminal = { ...newTerminal(), serial: 'WMMP-1', baseKey: Buffer.alloc(24, 3) };
const judge = headerJudge(4096);

function read(frame: Buffer, way: 'up' | 'down' = 'up'): WmmpMessage | Fault {
  const header = readHeader(frame);
  return (way === 'up' ? judge(header) : undefined) ?? decodeWmmp(header, frame, way);
}

function good(frame: Buffer, way: 'up' | 'down' = 'up'): WmmpMessage {
  const found = read(frame, way);
  if (isFault(found)) throw new Error(`${found.name} at ${found.offset}`);
  return found;
}

describe('what a terminal sends', () => {
  test('LOGIN', () => {
    const frame = wmmpLogin(terminal, { keyProof: true, software: 'v1.2\0\0\0\0', tlvs: [[0x3006, u16(5)]] });
    const message = good(frame);
    expect(message).toMatchObject({
      command: 'LOGIN',
      isResponse: false,
      fields: { firmware: 'v1.2', sessionKeyRequest: true, baseKeyDigest: shownBaseKey(terminal.baseKey) },
      tags: [0x3006, WMMP_TAG.BASE_KEY_DIGEST],
    });
    // Not within the object: a buffer would match any that begins with it.
    expect(message.digest).toEqual(frame.subarray(frame.length - 16));
    expect(message.covered).toEqual(frame.subarray(0, frame.length - 20));
    expect(good(wmmpLogin(terminal)).fields).toEqual({ firmware: '12345678' });
    expect(good(wmmpLogin(terminal, { software: 'v 1 \0 \0\0' })).fields).toEqual({ firmware: 'v 1' });
    expect(good(wmmpLogin(terminal, { software: '\0'.repeat(8) })).fields).toEqual({});
    expect(good(wmmpLogin(terminal, { software: 'v\x01\n\xff1234' })).fields).toEqual({
      firmware: 'v???1234',
    });
  });

  test('LOGOUT, with and without a digest', () => {
    expect(good(wmmpLogout(terminal, 5, { reason: 9 }))).toMatchObject({ fixed: { reason: 9 } });
    const bare = wmmpLogout(terminal, undefined, { tlvs: [[0x3006, u16(5)]] });
    expect(good(bare)).toMatchObject({ tags: [0x3006], digest: undefined });
    expect(good(bare).covered).toEqual(bare);
  });

  test('HEARTBEAT, whatever its security byte and its reserved byte', () => {
    const frame = wmmpHeartbeat(terminal, { security: 0xff });
    frame[11] = 7;
    expect(good(frame)).toMatchObject({ command: 'HEARTBEAT', tags: [], digest: undefined });
    expect(good(frame).fields).toStrictEqual({});
  });

  test('REGISTER, also without a serial', () => {
    const body = Buffer.concat([u8(1), Buffer.alloc(16, 0x31), Buffer.alloc(15, 0x32), tlv([0x3006, u8(1)])]);
    const message = good(wmmpFrame({ command: WMMP.REGISTER, serial: Buffer.alloc(16), body }));
    expect(message.fixed).toEqual({
      operation: 1,
      imei: Buffer.alloc(16, 0x31),
      imsi: Buffer.alloc(15, 0x32),
    });
  });

  test('the answer to SECURITY_CONFIG, whatever stands between result and digest', () => {
    const frame = securityConfigAnswer(terminal, 5, 9, { result: 2, tags: [0xe025, 0xe028] });
    const message = good(frame);
    const facts = { command: 'SECURITY_CONFIG', isResponse: true, fixed: { result: 2 }, tags: [] };
    expect(message).toMatchObject(facts);
    expect(message.digest).toEqual(frame.subarray(frame.length - 16));
    expect(message.covered).toEqual(frame.subarray(0, frame.length - 20));
    expect(good(securityConfigAnswer(terminal, undefined, 9)).digest).toBeUndefined();
  });

  test('commands that are not served, whatever their body', () => {
    for (const command of [0x04, 0x05, 0x06, 0x0a, 0x0b, 0x0c, 0x0d, 0x0f]) {
      const name = `COMMAND_${u16(command).toString('hex').toUpperCase()}`;
      expect(good(uplink(terminal, command, undefined, Buffer.alloc(3, 0xff)))).toMatchObject({
        command: name,
      });
      expect(good(uplink(terminal, command, 5, Buffer.alloc(30, 0xff))).digest).toHaveLength(16);
    }
  });
});

test.each([
  ['nothing else', 0x04, 'e0210010', true],
  ['something before it', 0x04, '00e0210010', true],
  ['another tag', 0x04, 'e0200010', false],
  ['another length', 0x04, 'e0210011', false],
  ['a byte behind it', 0x04, 'e021001000', false],
  ['its first byte in the fixed fields', 0x800e, 'e0210010', false],
])('a digest at the end of what nobody knows: %s', (_name, command, head, isThere) => {
  const bytes = Buffer.concat([Buffer.from(head, 'hex'), Buffer.alloc(16, 7)]);
  const frame = wmmpFrame({ command, serial: 'A', body: bytes });
  const { digest, covered, tags } = good(frame);
  expect(digest).toEqual(isThere ? Buffer.alloc(16, 7) : undefined);
  expect(covered).toEqual(isThere ? frame.subarray(0, frame.length - 20) : frame);
  expect(tags).toEqual([]);
});

test('what the other side would not send is refused, whoever has judged its header', () => {
  for (const command of [0x09, WMMP.LOGIN, WMMP.SECURITY_CONFIG | 0x8000]) {
    const frame = wmmpFrame({ command, serial: 'A' });
    expect(read(frame, 'down')).toMatchObject({ name: 'command-unknown', offset: 2 });
  }
  const unknown = readHeader(wmmpFrame({ command: 0x09, serial: 'A' }));
  expect(judge(unknown)).toMatchObject({ name: 'command-unknown' });
});

test('what a gateway sends', () => {
  const login = wmmpLoginAnswer(
    terminal,
    { sequence: 4 },
    { timestamp: 77, sessionKey: Buffer.alloc(24, 1) },
  );
  expect(good(login, 'down')).toMatchObject({ fixed: { result: 0, timestamp: 77 }, command: 'LOGIN' });
  expect(good(login, 'down').tlvs.sessionKeyCiphertext).toHaveLength(40);
  const config = securityConfig(terminal, 77, Buffer.alloc(24, 1), securityConfigPlain({}));
  expect(good(config, 'down').tlvs.bodyCiphertext).toHaveLength(8);
});

describe('wrong', () => {
  const body = (...tlvs: Tlv[]) => Buffer.concat([Buffer.alloc(12), wmmpTlvs(tlvs)]);
  const loginOf = (...tlvs: Tlv[]) => wmmpFrame({ command: WMMP.LOGIN, serial: 'A', body: body(...tlvs) });
  const digest: Tlv = [WMMP_TAG.DIGEST, Buffer.alloc(16)];
  const cases: Record<string, [frame: Buffer, name: string, offset: number]> = {
    'fixed fields cut off': [
      wmmpFrame({ command: 1, serial: 'A', body: Buffer.alloc(9) }),
      'body-too-short',
      36,
    ],
    'half a TLV head': [
      wmmpFrame({ command: WMMP.CONFIG_TRAP, serial: 'A', body: Buffer.alloc(3) }),
      'tlv-truncated',
      28,
    ],
    'TLV past the end': [
      wmmpFrame({
        command: WMMP.CONFIG_TRAP,
        serial: 'A',
        body: Buffer.from('3006000101', 'hex').fill(9, 2, 4),
      }),
      'tlv-overrun',
      28,
    ],
    'digest before another TLV': [loginOf(digest, [0x3006, u8(1)]), 'digest-not-last', 40],
    'digest of 32 bytes': [loginOf([WMMP_TAG.DIGEST, Buffer.alloc(32)]), 'digest-length', 40],
    'base key digest of 15 bytes': [
      loginOf([WMMP_TAG.BASE_KEY_DIGEST, Buffer.alloc(15)], digest),
      'value-length',
      40,
    ],
    'base key digest twice': [
      loginOf([WMMP_TAG.BASE_KEY_DIGEST, Buffer.alloc(16)], [WMMP_TAG.BASE_KEY_DIGEST, Buffer.alloc(16)]),
      'tag-twice',
      60,
    ],
    'an unknown command': [wmmpFrame({ command: 0x09, serial: 'A' }), 'command-unknown', 2],
    'an answer to what the gateway never asks': [
      wmmpFrame({ command: WMMP.LOGIN | 0x8000, serial: 'A', body: Buffer.alloc(5) }),
      'command-unknown',
      2,
    ],
    'SECURITY_CONFIG from a terminal': [
      wmmpFrame({ command: WMMP.SECURITY_CONFIG, serial: 'A' }),
      'command-unknown',
      2,
    ],
    'a serial that is none': [
      wmmpFrame({ command: WMMP.HEARTBEAT, serial: Buffer.alloc(16) }),
      'serial-invalid',
      12,
    ],
    'too long': [wmmpFrame({ command: WMMP.HEARTBEAT, serial: 'A', length: 4097 }), 'length-too-long', 0],
  };

  test.each(Object.keys(cases))('%s', (name) => {
    const [frame, fault, offset] = cases[name]!;
    expect(read(frame)).toMatchObject({ name: fault, offset });
  });

  test('a wrong length is told with its tag', () => {
    expect(read(cases['base key digest of 15 bytes']![0])).toMatchObject({ subject: '0xe03a of 15' });
  });

  test('unknown tags are skipped, also twice, and known ones of other commands', () => {
    const tlvs: Tlv[] = [
      [0x3006, u8(1)],
      [0x3006, u8(2)],
      [WMMP_TAG.UPLINK_PASSWORD, u8(1)],
    ];
    expect(good(wmmpLogin(terminal, { tlvs })).tags).toEqual(tlvs.map(([tag]) => tag));
  });
});

test('every prefix and every cut of any frame is a message or a fault, and the frame survives any cut', () => {
  const frames = [wmmpLogin(terminal, { keyProof: true }), wmmpLogout(terminal, 5), wmmpHeartbeat(terminal)];
  const whole = Buffer.concat(frames);
  fc.assert(
    fc.property(fc.array(fc.nat(whole.length), { maxLength: 6 }), (cuts) => {
      const framer = new Framer(judge);
      const edges = [0, ...cuts.sort((a, b) => a - b), whole.length];
      const events = edges.slice(1).flatMap((end, i) => framer.push(whole.subarray(edges[i], end)));
      expect(events.map((event) => event.kind === 'frame' && event.bytes.length)).toEqual(
        frames.map(({ length }) => length),
      );
    }),
    { numRuns: 100 },
  );
  for (const frame of frames) {
    for (let size = 28; size <= frame.length; size++) {
      const cut = Buffer.from(frame.subarray(0, size));
      cut.writeUInt16BE(size, 0);
      read(cut);
    }
  }
});

describe('tables', () => {
  test('codes and tags are unique and found by number', () => {
    expect(new Set(WMMP_COMMAND_NAMES.map((name) => WMMP_COMMANDS[name].code)).size).toBe(
      WMMP_COMMAND_NAMES.length,
    );
    for (const name of WMMP_COMMAND_NAMES) expect(wmmpCommandName(WMMP_COMMANDS[name].code)).toBe(name);
    expect(new Set(WMMP_TAG_NAMES.map((name) => WMMP_TAGS[name].tag)).size).toBe(WMMP_TAG_NAMES.length);
  });

  test('who asks does not answer', () => {
    for (const name of WMMP_COMMAND_NAMES) {
      const { code, direction } = WMMP_COMMANDS[name];
      const asks = direction === 'uplink' ? 'up' : 'down';
      const answers = asks === 'up' ? 'down' : 'up';
      expect(wmmpBody(code, asks)).toBe(WMMP_COMMANDS[name][asks]);
      expect(wmmpBody(code | 0x8000, answers)).toBe(WMMP_COMMANDS[name][answers]);
      expect([wmmpBody(code, answers), wmmpBody(code | 0x8000, asks)]).toEqual([undefined, undefined]);
    }
  });
});

test('encode writes what the oracle writes', () => {
  const asked = { sequence: 4 };
  const expected = wmmpLoginAnswer(terminal, asked, { timestamp: 77 });
  const { header, digest } = good(expected, 'down');
  const frame = encodeWmmp(
    { header, body: WMMP_COMMANDS.LOGIN.down, fixed: { result: 0, timestamp: 77 } },
    (covered) => {
      expect(covered).toEqual(expected.subarray(0, expected.length - 20));
      return digest!;
    },
  );
  expect(frame).toEqual(expected);
  expect(() => encodeWmmp({ header, body: WMMP_COMMANDS.LOGIN.down, fixed: { result: 0 } })).toThrow(
    /timestamp/,
  );
  expect(u32(77)).toEqual(frame.subarray(29, 33));
});

test('encode writes a body that nobody knows as it is given, and no digest that nobody made', () => {
  const tags = [0xe025, 0xe028];
  const expected = securityConfigAnswer(terminal, undefined, 9, { result: 2, tags });
  const { header } = good(expected);
  const outgoing = { header, body: WMMP_COMMANDS.SECURITY_CONFIG.up, fixed: { result: 2 } };
  expect(encodeWmmp({ ...outgoing, rest: Buffer.concat(tags.map(u16)) })).toEqual(expected);
  expect(encodeWmmp(outgoing)).toHaveLength(29);
});
