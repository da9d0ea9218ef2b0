import fc from 'fast-check';
import { readHeader, serialBytes, serialText, writeHeader, type Header } from '../../src/protocol/header';
import { headerJudge, versionText } from '../../src/protocol/judge';
import { buildFrame, COMMAND, RESPONSE, type FrameParts } from '../support/oracle';

const LIMIT = 4096;
const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const serial = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
const anyHeader: fc.Arbitrary<Header> = fc.record({
  length: u16,
  command: u16,
  sequence: u32,
  version: u16,
  suite: u8,
  result: u8,
  serial,
});

describe('the 28 bytes', () => {
  test('are read as the oracle lays them out, and written so', () => {
    fc.assert(
      fc.property(anyHeader, fc.uint8Array({ maxLength: 8 }), (header, behind) => {
        const bytes = buildFrame({ ...header, digest: null });
        expect(bytes).toHaveLength(28);
        const read = readHeader(Buffer.concat([bytes, behind]));
        expect(read).toEqual({ ...header, serialText: serialText(header.serial) });
        const written = Buffer.alloc(32, 0xee);
        writeHeader(written, header);
        expect(written).toEqual(Buffer.concat([bytes, Buffer.alloc(4, 0xee)]));
      }),
    );
  });
});

describe('serial', () => {
  const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-';
  const text = fc.string({ unit: fc.constantFrom(...CHARACTERS), minLength: 1, maxLength: 16 });

  test('goes to 16 bytes and back', () => {
    fc.assert(
      fc.property(text, (name) => {
        const bytes = serialBytes(name);
        expect(bytes).toEqual(Buffer.concat([Buffer.from(name)], 16));
        expect(serialText(bytes)).toBe(name);
      }),
    );
  });

  test('each byte value is permitted or not, at the first, a middle and the last place', () => {
    for (let byte = 0; byte < 256; byte++) {
      const permitted = CHARACTERS.includes(String.fromCharCode(byte));
      for (const at of [0, 7, 15]) {
        const bytes = Buffer.from('ABCDEFGHIJKLMNOP');
        bytes[at] = byte;
        const padding = byte === 0 && at === 15;
        const expected = permitted ? bytes.toString('latin1') : padding ? 'ABCDEFGHIJKLMNO' : undefined;
        expect(serialText(bytes)).toBe(expected);
      }
    }
  });

  test.each([
    ['empty', Buffer.alloc(16)],
    ['bytes after the padding', Buffer.from('A\0B'.padEnd(16, '\0'))],
    ['one byte at the end of the padding', Buffer.from('A'.padEnd(15, '\0') + 'B')],
    ['padding before', Buffer.from('\0A'.padEnd(16, '\0'))],
  ])('is none: %s', (_, bytes) => expect(serialText(bytes)).toBeUndefined());

  test('any 16 bytes: text that gives the same bytes again, or nothing', () => {
    fc.assert(
      fc.property(serial, (bytes) => {
        const name = serialText(bytes);
        if (name !== undefined) expect(serialBytes(name)).toEqual(bytes);
      }),
    );
  });

  test.each(['', 'ABCDEFGHIJKLMNOPQ', 'A B', 'A\0', 'Ä', 'A\n'])('serialBytes refuses %j', (name) => {
    expect(() => serialBytes(name)).toThrow(RangeError);
  });
});

describe('order of checks', () => {
  const GOOD: FrameParts = { command: COMMAND.LOGIN, serial: 'T100', suite: 1, length: 48 };
  /** One step of the page's order each; every way in which it can fail, with the fault's name. */
  const STEPS: [fault: string, offset: number, wrong: Partial<FrameParts>][][] = [
    [
      ['length-too-short', 0, { length: 0 }],
      ['length-too-short', 0, { length: 27 }],
      ['length-too-long', 0, { length: LIMIT + 1 }],
      ['length-too-long', 0, { length: 0xffff }],
    ],
    [
      ['version-unknown', 8, { version: 0x0500 }],
      ['version-unknown', 8, { version: 0x0401 }],
      ['version-unknown', 8, { version: 0 }],
    ],
    [
      ['command-unknown', 2, { command: 0x0777 }],
      ['command-unknown', 2, { command: 0 }],
      ['command-unknown', 2, { command: RESPONSE | COMMAND.LOGIN }],
      ['command-unknown', 2, { command: COMMAND.CREDENTIAL_NOTICE }],
      ['command-unknown', 2, { command: COMMAND.DISCONNECT }],
      ['command-unknown', 2, { command: RESPONSE | COMMAND.DISCONNECT }],
      ['command-unknown', 2, { command: RESPONSE | COMMAND.AUTH_CHALLENGE }],
    ],
    [
      ['result-in-request', 11, { result: 1 }],
      ['result-in-request', 11, { result: 255 }],
    ],
    [
      ['serial-invalid', 12, { serial: '' }],
      ['serial-invalid', 12, { serial: 'A B' }],
      ['serial-invalid', 12, { serial: Buffer.from('A\0B'.padEnd(16, '\0')) }],
    ],
    [
      ['suite-unknown', 10, { suite: 9 }],
      ['suite-unknown', 10, { suite: 3 }],
      ['suite-unknown', 10, { suite: 255 }],
      ['suite-unsigned', 10, { suite: 0 }],
    ],
  ];
  const judge = (parts: FrameParts) => headerJudge(LIMIT)(readHeader(buildFrame({ ...parts, digest: null })));

  test.each(STEPS.flat())('%s at %d: %j', (name, offset, wrong) => {
    expect(judge({ ...GOOD, ...wrong })).toMatchObject({ name, offset });
  });

  test('the first step that fails gives the fault, whatever else is wrong', () => {
    const choices = STEPS.map((step) => fc.option(fc.constantFrom(...step), { nil: undefined }));
    fc.assert(
      fc.property(fc.tuple(...choices), (chosen) => {
        const wrong = chosen.filter((one) => one !== undefined);
        const parts = Object.assign({}, GOOD, ...wrong.map(([, , part]) => part)) as FrameParts;
        expect(judge(parts)?.name).toBe(wrong[0]?.[0]);
      }),
      { numRuns: 3000 },
    );
  });

  test('limits are inclusive', () => {
    expect(judge({ ...GOOD, length: 28 })).toBeUndefined();
    expect(judge({ ...GOOD, length: LIMIT })).toBeUndefined();
    expect(
      headerJudge(0xffff)(readHeader(buildFrame({ ...GOOD, length: 0xffff, digest: null }))),
    ).toBeUndefined();
  });

  test.each([
    ['LOGIN in suite 2', { suite: 2 }],
    ['AUTH_CHALLENGE unsigned', { command: COMMAND.AUTH_CHALLENGE, suite: 0 }],
    ['the answer to a notice', { command: RESPONSE | COMMAND.CREDENTIAL_NOTICE }],
    ['any sequence', { sequence: 0xffffffff }],
    ['a full serial', { serial: 'ABCDEFGHIJKLMN._' }],
  ])('good: %s', (_, parts) => expect(judge({ ...GOOD, ...parts })).toBeUndefined());

  test('any header gives nothing or a fault of these, and never throws', () => {
    const names = STEPS.flat().map(([name]) => name);
    fc.assert(
      fc.property(anyHeader, (header) => {
        const fault = headerJudge(LIMIT)({ ...header, serialText: serialText(header.serial) });
        if (fault !== undefined) expect(names).toContain(fault.name);
      }),
    );
  });
});

test('versions as text', () => {
  expect([0x0400, 0x0300, 0x0301, 0x050a].map(versionText)).toEqual(['4.0', '3.0', '3.1', '5.10']);
});
