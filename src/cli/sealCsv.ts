/**
 * Terminals out of a CSV (RFC 4180) in UTF-8, line ends of any system. What is wrong is told by line and column, never
 * with a value: the columns hold secrets.
 */
import { isUtf8 } from 'node:buffer';
import { pipeline, type Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { baseKeyValue, passwordValue } from './values';

/** The arguments of provision_terminal; those marked must stand in every line. */
export const COLUMNS = {
  serial: { required: true },
  imei: { required: true },
  imsi: { required: true },
  uplink_password: { required: true, secret: passwordValue },
  downlink_password: { required: true, secret: passwordValue },
  base_key: { required: false, secret: baseKeyValue },
  msisdn: { required: false },
  least_login: { required: false },
  label: { required: false },
} as const satisfies Record<string, { required: boolean; secret?: (text: string) => Buffer }>;

export type Name = keyof typeof COLUMNS;
export const NAMES = Object.keys(COLUMNS) as Name[];

/** One terminal: the fields that are not empty, in the order of COLUMNS. */
export interface TerminalLine {
  /** Its last one, from 1. */
  readonly line: number;
  readonly fields: ReadonlyMap<Name, string>;
}

type Row = readonly Buffer[];

/** Bytes of a line; a quote that is never closed must not gather all of the input. */
const LONGEST_LINE = 65_536;

/** Throws an Error that tells line and column. */
export async function* readTerminals(input: Readable): AsyncGenerator<TerminalLine> {
  let names: readonly Name[] | undefined;
  let isEmpty = true;
  const take = (row: Row, line: number): TerminalLine | undefined => {
    if (names !== undefined) {
      isEmpty = false;
      return { line, fields: fieldsOf(names, row, line) };
    }
    names = header(row, line);
    return undefined;
  };
  try {
    yield* rows(input, take);
  } catch (error) {
    throw error instanceof CsvError ? explained(error, names) : error;
  }
  if (names === undefined) throw new Error('line 1: there is no header');
  if (isEmpty) throw new Error('line 1: there is no terminal behind the header');
}

/** @param take called as soon as a row is read, so that an error behind the header knows its columns */
function rows(
  input: Readable,
  take: (row: Row, line: number) => TerminalLine | undefined,
): AsyncIterable<TerminalLine> {
  const parser = parse({
    skip_empty_lines: true,
    // As bytes: decoding would put U+FFFD in place of what is no UTF-8, and a terminal would get another password.
    encoding: null,
    record_delimiter: ['\r\n', '\n', '\r'],
    max_record_size: LONGEST_LINE,
    on_record: (row, { lines }) => take(row as unknown as Row, lines) as unknown as string[],
  });
  pipeline(input, withoutMark, parser, () => undefined);
  return parser as AsyncIterable<TerminalLine>;
}

const MARK = Buffer.from('\ufeff');

/** As spreadsheets write it. The parser's own way with it would decode the fields. */
async function* withoutMark(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let begin: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of input) {
    begin = begin && Buffer.concat([begin, chunk]);
    if (begin === undefined) yield chunk;
    else if (begin.length >= MARK.length) {
      yield begin.subarray(begin.indexOf(MARK) === 0 ? MARK.length : 0);
      begin = undefined;
    }
  }
  if (begin !== undefined) yield begin;
}

function header(row: Row, line: number): readonly Name[] {
  const names = row.map((field, index) => textOf(field, line, `column ${index + 1}`));
  const unknown = names.find((name) => !Object.hasOwn(COLUMNS, name));
  if (unknown !== undefined)
    throw new Error(`line ${line}: no column ${unknown}; there are ${NAMES.join(', ')}`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`line ${line}: column ${twice} stands twice`);
  const missing = NAMES.find((name) => COLUMNS[name].required && !names.includes(name));
  if (missing !== undefined) throw new Error(`line ${line}: column ${missing} is missing`);
  return names as Name[];
}

function fieldsOf(names: readonly Name[], row: Row, line: number): TerminalLine['fields'] {
  const held = new Map(names.map((name, index) => [name, textOf(row[index] ?? Buffer.alloc(0), line, name)]));
  const fields = NAMES.flatMap((name): [Name, string][] => {
    const text = held.get(name) ?? '';
    if (text !== '') return [[name, text]];
    if (COLUMNS[name].required) throw new Error(`line ${line}: ${name} is empty`);
    return [];
  });
  return new Map(fields);
}

function textOf(field: Buffer, line: number, column: string): string {
  if (isUtf8(field)) return field.toString();
  throw new Error(`line ${line}: ${column} is not UTF-8`);
}

const FAULTS: Readonly<Record<string, string>> = {
  INVALID_OPENING_QUOTE: 'a quote within a field: quote the whole field, and double the quotes in it',
  CSV_INVALID_CLOSING_QUOTE: 'something stands behind a closing quote: double the quotes within a field',
  CSV_QUOTE_NOT_CLOSED: 'a quote that is not closed',
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: 'not as many fields as the header has columns',
  CSV_MAX_RECORD_SIZE: `more than ${LONGEST_LINE} bytes, or a quote that is not closed`,
};

/** The parser's own messages show values. */
function explained({ code, lines, column }: CsvError, names: readonly Name[] | undefined): Error {
  const isOfField = code !== 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH' && typeof column === 'number';
  const at = isOfField ? `: ${names?.[column] ?? `column ${column + 1}`}` : '';
  return new Error(`line ${String(lines)}${at}: ${FAULTS[code] ?? code}`);
}
