/** What `m2m seal` takes for a CSV of terminals, and that nothing is altered on its way into SQL. */
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { statement } from '../../src/cli/seal';
import { readTerminals, type TerminalLine } from '../../src/cli/sealCsv';
import { keyRing, unseal, type SealedColumn } from '../../src/crypto/sealing';
import { readStatement } from '../support/sqlLiterals';

const ring = keyRing([{ id: '00000001', key: Buffer.alloc(32, 7) }]);
const HEADER = 'serial,imei,imsi,uplink_password,downlink_password,label';
const GOOD = 'T-1,868123000000019,460001234567890,up,down,';

async function read(input: string | Buffer, size = 65_536): Promise<TerminalLine[]> {
  const bytes = Buffer.from(input as string);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  );
  const found: TerminalLine[] = [];
  for await (const terminal of readTerminals(Readable.from(pieces))) found.push(terminal);
  return found;
}

/** The SQL of one terminal read back: plain values as they are, secrets opened. */
function opened(terminal: TerminalLine): Record<string, string> {
  const values = readStatement(statement(ring, terminal));
  return Object.fromEntries(
    Object.entries(values).map(([name, text]) => {
      if (!/password|base_key/.test(name)) return [name, text];
      expect(text).toMatch(/^\\x01/);
      const stored = Buffer.from(text.slice(2), 'hex');
      return [name, unseal(ring, name as SealedColumn, values['serial'] ?? '', stored).toString()];
    }),
  );
}

test.each([
  ['\n', ''],
  ['\r\n', ''],
  ['\r', ''],
  ['\n', '\ufeff'],
])('lines that end in %j, behind %j', async (end, mark) => {
  const found = await read([mark + HEADER, GOOD + 'a', '', `${GOOD}"b"`, ''].join(end), 1);
  expect(found.map(({ line, fields }) => [line, fields.get('label')])).toEqual([
    [2, 'a'],
    [4, 'b'],
  ]);
});

test('an empty field is not there; one that is quoted may hold quotes, commas and line ends', async () => {
  const [empty, full] = await read(`${HEADER}\n${GOOD}\n${GOOD}"a ""b"", 'c'\r\nd\\x"\n`);
  expect([...empty!.fields.keys()]).not.toContain('label');
  expect(opened(full!)).toMatchObject({ uplink_password: 'up', label: `a "b", 'c'\r\nd\\x` });
});

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
const field = fc
  .string({ minLength: 1, maxLength: 16, unit: 'grapheme' })
  .filter((text) => !text.includes('\0') && !text.startsWith('\\x'));

test('whatever a field holds arrives as it is, however the bytes come', async () => {
  const run = async (uplink: string, label: string, size: number) => {
    const [found] = await read(`${HEADER}\nT-1,1,2,${quoted(uplink)},down,${quoted(label)}\n`, size);
    expect(opened(found!)).toEqual({
      serial: 'T-1',
      imei: '1',
      imsi: '2',
      uplink_password: uplink,
      downlink_password: 'down',
      label,
    });
  };
  await fc.assert(
    fc.asyncProperty(
      field.filter((text) => Buffer.byteLength(text) <= 64),
      field,
      fc.integer({ min: 1, max: 40 }),
      run,
    ),
  );
});

const not = (text: string) => Buffer.concat([Buffer.from(text), Buffer.of(0xff, 0x0a)]);

test.each<[string, string | Buffer, string]>([
  ['nothing', '', 'line 1: there is no header'],
  ['a header only', `${HEADER}\n`, 'line 1: there is no terminal behind the header'],
  ['empty lines', '\n\n', 'line 1: there is no header'],
  ['a column twice', `${HEADER},imei\n${GOOD},1\n`, 'line 1: column imei stands twice'],
  ['an unknown column', 'serial,colour\n', 'line 1: no column colour'],
  ['another delimiter', 'serial;imei\n', 'line 1: no column serial;imei'],
  ['a column too few', 'serial,imei\n', 'line 1: column imsi is missing'],
  ['a field too many', `${HEADER}\n${GOOD},\n`, 'line 2: not as many fields as the header has columns'],
  ['a field too few', `${HEADER}\n\nT-1,1\n`, 'line 3: not as many fields as the header has columns'],
  ['an empty field', `${HEADER}\nT-1,1,2,,down,\n`, 'line 2: uplink_password is empty'],
  ['one that is empty in quotes', `${HEADER}\nT-1,1,2,"",down,\n`, 'line 2: uplink_password is empty'],
  ['a quote within', `${HEADER}\nT-1,1,2,sec"ret,down,\n`, 'line 2: uplink_password: a quote within a field'],
  ['a quote behind a blank', `${HEADER}\nT-1,1,2, "secret",d,\n`, 'line 2: uplink_password: a quote within'],
  [
    'a quote that opens nothing',
    `${HEADER}\nT-1,1,2,"sec"ret,d,\n`,
    'line 2: uplink_password: something stands',
  ],
  [
    'a blank behind a quote',
    `${HEADER}\nT-1,1,2,"secret" ,d,\n`,
    'line 2: uplink_password: something stands',
  ],
  ['an open quote', `${HEADER}\nT-1,1,2,"secret,d,\n`, 'line 2: uplink_password: a quote that is not closed'],
  ['a quote in the header', 'serial,im"ei\n', 'line 1: column 2: a quote within a field'],
  ['a header that is not UTF-8', not(`serial,`), 'line 1: column 2 is not UTF-8'],
  ['Latin-1', not(`${HEADER}\n${GOOD}Gar`), 'line 2: label is not UTF-8'],
  ['a secret that is not UTF-8', not(`${HEADER}\nT-1,1,2,secret`), 'line 2: not as many fields'],
  ['UTF-16', Buffer.from(`\ufeff${HEADER}\n`, 'utf16le'), 'line 1: column 1 is not UTF-8'],
  ['UTF-16 without a mark', Buffer.from(`${HEADER}\n`, 'utf16le'), 'line 1: no column s\0e\0r'],
  [
    'a surrogate',
    Buffer.from([...Buffer.from(`${HEADER}\n${GOOD}`), 0xed, 0xa0, 0x80]),
    'line 2: label is not',
  ],
])('%s is refused', async (_what, input, why) => {
  const found = read(input);
  await expect(found).rejects.toThrow(why);
  await expect(found).rejects.not.toThrow(/sec"|secret|ret/);
});

test('a quote that is never closed does not gather what comes', async () => {
  let asked = 0;
  function* endless() {
    yield Buffer.from(`${HEADER}\nT-1,1,2,"`);
    while (++asked < 10_000) yield Buffer.alloc(65_536, 'x');
  }
  const gather = async () => {
    for await (const _ of readTerminals(Readable.from(endless()))) expect(_).toBeUndefined();
  };
  await expect(gather()).rejects.toThrow('line 2: uplink_password: more than 65536 bytes');
  expect(asked).toBeLessThan(100);
});

test.each([
  ['T 1,1,2,up,down,', 'line 2: serial: '],
  ['T-1,1,2,\\xabc,down,', 'line 2: uplink_password: '],
  [`T-1,1,2,${'u'.repeat(65)},down,`, 'line 2: uplink_password: It must have 1 to 64 bytes, not 65.'],
  ['T-1,1,2,up,down,a\0b', 'line 2: label: holds a NUL'],
])('%j makes no SQL', async (line, why) => {
  const [found] = await read(`${HEADER}\n${line}\n`);
  expect(() => statement(ring, found!)).toThrow(why);
});
