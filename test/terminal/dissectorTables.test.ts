/** The Wireshark dissector has tables of its own: they are those of the protocol. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHANGE_TARGETS } from '../../src/protocol/changeTargets';
import { COMMANDS, DISCONNECT_REASONS } from '../../src/protocol/commands';
import { FAULTS } from '../../src/protocol/faults';
import { RESPONSE_BIT, WMMP_VERSIONS } from '../../src/protocol/header';
import { RESULTS } from '../../src/protocol/results';
import { SUITES } from '../../src/protocol/suites';
import { FIELD_NAMES, rowOf, wireName, type TagRow } from '../../src/protocol/tags';
import { fixedCodec, wmmpBody, WMMP_COMMANDS } from '../../src/protocol/wmmp/commands';
import { WMMP_TAG_NAMES, wmmpTagRow } from '../../src/protocol/wmmp/tags';

const SCRIPT = join(__dirname, '..', '..', 'scripts', 'wireshark', 'm2m.lua');
const lua = readFileSync(SCRIPT, 'utf8');

/** The rows of a table: its keys as numbers, its values as they are written. */
function table(name: string): Map<number, string> {
  const body = new RegExp(`^local ${name} = \\{\\n([^]*?)^\\}`, 'm').exec(lua)?.[1] ?? '';
  const rows = [...body.matchAll(/^ {2}\[(\w+)\] = (.*),$/gm)];
  expect(rows).toHaveLength(body.trim().split('\n').length);
  return new Map(rows.map(([, key, value]) => [Number(key), value!.replaceAll('"', '')]));
}

const byCode = (rows: object, code: (row: never) => number): Map<number, string> =>
  new Map(Object.entries(rows).map(([name, row]) => [code(row as never), name]));
const codeOf = ({ code }: { code: number }): number => code;
const itself = (code: number): number => code;

test('commands, results, suites, reasons and targets', () => {
  expect(table('COMMANDS')).toEqual(byCode(COMMANDS, codeOf));
  expect(table('RESULTS')).toEqual(byCode(RESULTS, codeOf));
  expect(table('SUITES')).toEqual(
    new Map([[0, 'unsigned'], ...Object.entries(SUITES).map(([code, { name }]) => [+code, name] as const)]),
  );
  expect(table('DIGEST_SIZES')).toEqual(
    new Map(Object.entries(SUITES).map(([code, { digestSize }]) => [+code, String(digestSize)])),
  );
  expect(table('DISCONNECT_REASONS')).toEqual(byCode(DISCONNECT_REASONS, itself));
  expect(table('CHANGE_TARGETS')).toEqual(byCode(CHANGE_TARGETS, itself));
});

function kindOf(name: string, { codec }: TagRow<unknown>): string {
  const value = [1, 0x31].map((byte) => codec.read(Buffer.alloc(codec.min, byte))).find((one) => one);
  if (value === true) return 'flag';
  if (typeof value === 'string') return 'text';
  if (typeof value !== 'number') return 'bytes';
  return name === 'timestamp' ? 'time' : `u${codec.min * 8}`;
}

const tags = FIELD_NAMES.map((name) => ({ name, ...rowOf(name) }));
const wmmpTags = WMMP_TAG_NAMES.map((name) => ({ name, ...wmmpTagRow(name) }));

const written = (rows: readonly (TagRow<unknown> & { name: string })[]) =>
  new Map(
    rows.map(({ name, ...row }) => {
      const { min, max } = row.codec;
      return [row.tag, `{ ${wireName(name)}, ${kindOf(name, row)}, ${min}, ${max} }`] as const;
    }),
  );

test('TLVs, with their kinds and lengths', () => {
  expect(table('TAGS')).toEqual(written(tags));
  expect(table('WMMP_TAGS')).toEqual(written(wmmpTags));
  const twoSizes = tags.filter(
    ({ codec }) => codec.max > codec.min && codec.read(Buffer.alloc(codec.min + 1, 0x31)) === undefined,
  );
  expect([...table('TWO_SIZES').keys()].sort()).toEqual(twoSizes.map(({ tag }) => tag).sort());
});

test('values that are permitted', () => {
  const all = Array.from({ length: 256 }, (_, value) => value);
  const ranges = tags.flatMap(({ name, ...row }) => {
    const { tag, codec } = row;
    if (!kindOf(name, row).startsWith('u')) return [];
    const permits = (value: number) =>
      codec.read(Buffer.concat([Buffer.alloc(codec.min - 1), Buffer.of(value)])) !== undefined;
    const low = all.find(permits)!;
    const high = codec.min === 1 ? all.findLast(permits)! : 0xffffffff;
    const isLimited = low > 0 || (codec.min === 1 && high < 255);
    return isLimited ? [[tag, [low, high]] as const] : [];
  });
  const limits = [...table('RANGES')].map(([tag, text]) => [tag, text.match(/\w+/g)!.map(Number)] as const);
  expect(new Map(limits)).toEqual(new Map(ranges));
});

test('faults have the names of the protocol', () => {
  const body = /^local FAULTS = \{\n([^]*?)^\}/m.exec(lua)?.[1] ?? '';
  const names = [...body.matchAll(/^ {2}\["([\w-]+)"\]/gm)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThan(15);
  // Of an answer; the gateway never takes one to judge.
  expect(names.filter((name) => !(name in FAULTS))).toEqual(['result-unknown']);
});

test('commands and bodies of WMMP', () => {
  expect(table('WMMP_COMMANDS')).toEqual(byCode(WMMP_COMMANDS, codeOf));
  expect([...table('WMMP_VERSIONS').keys()]).toEqual(WMMP_VERSIONS);
  const bodies = Object.values(WMMP_COMMANDS)
    .flatMap(({ code }) => [code, code | RESPONSE_BIT])
    .map((code) => [code, wmmpBody(code, 'up') ?? wmmpBody(code, 'down')!] as const);
  const fields = bodies.map(([code, { fixed }]) => {
    const rows = fixed.map((name) => `{ ${wireName(name).toLowerCase()}, ${fixedCodec(name).max} }`);
    return [code, `{ ${rows.join(', ')} }`] as const;
  });
  expect(table('WMMP_BODIES')).toEqual(new Map(fields.filter(([, text]) => text !== '{  }')));
  const unknown = bodies.filter(([, { rest }]) => rest === 'unknown').map(([code]) => code);
  expect(new Set(table('WMMP_UNKNOWN_BODIES').keys())).toEqual(new Set(unknown));
});
