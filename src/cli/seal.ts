/** `m2m seal`: terminals as CSV with plain secrets in, SQL with sealed ones out. */
import type { Command } from 'commander';
import { parse } from 'csv-parse';
import { keyRing, seal, type KeyRing, type SealedColumn } from '../crypto/sealing';
import { serialBytes } from '../protocol/header';
import { readKeyFile } from '../platform/keys/keyFile';
import { failed } from './errors';
import { checkedSettings, usingKeyFile } from './serveParts';
import { baseKeyValue, passwordValue } from './values';

/** The arguments of provision_terminal; those marked must stand in every line. */
const COLUMNS = {
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

type Name = keyof typeof COLUMNS;
const NAMES = Object.keys(COLUMNS) as Name[];

export function register(program: Command): void {
  program
    .command('seal')
    .description(
      'seals the secrets of terminals: CSV on standard input (a header line, columns as the arguments of ' +
        'provision_terminal), SQL on standard output, one transaction',
    )
    .action(run);
}

async function run(): Promise<void> {
  const ring = ringOf(checkedSettings().keyFile);
  const records = process.stdin.pipe(
    parse({ columns: header, bom: true, info: true, skip_empty_lines: true }),
  );
  await write('BEGIN;\n');
  try {
    for await (const { record, info } of records as AsyncIterable<Read>)
      await write(statement(ring, record, info.lines));
  } catch (error) {
    // What has been written is of no use without COMMIT.
    await write('ROLLBACK;\n');
    throw failed(`standard input: ${error instanceof Error ? error.message : String(error)}`);
  }
  await write('COMMIT;\n');
}

interface Read {
  readonly record: Readonly<Record<string, string>>;
  readonly info: { readonly lines: number };
}

function ringOf(keyFile: string): KeyRing {
  return usingKeyFile(() => keyRing(readKeyFile(keyFile).sealing));
}

function header(names: string[]): string[] {
  const unknown = names.find((name) => !Object.hasOwn(COLUMNS, name));
  if (unknown !== undefined) throw new Error(`line 1: no column ${unknown}; there are ${NAMES.join(', ')}`);
  const missing = NAMES.find((name) => COLUMNS[name].required && !names.includes(name));
  if (missing !== undefined) throw new Error(`line 1: column ${missing} is missing`);
  return names;
}

function statement(ring: KeyRing, record: Read['record'], line: number): string {
  const serial = record['serial'] ?? '';
  const values = NAMES.flatMap((name) => {
    const text = record[name];
    if (text === undefined || text === '') {
      if (COLUMNS[name].required) throw new Error(`line ${line}: ${name} is empty`);
      return [];
    }
    return `${name} => ${value(ring, serial, name, text, line)}`;
  });
  return `SELECT m2m.provision_sealed(${values.join(', ')});\n`;
}

/** An SQL literal. */
function value(ring: KeyRing, serial: string, name: Name, text: string, line: number): string {
  try {
    serialBytes(serial);
    const column = COLUMNS[name];
    if (!('secret' in column)) return literal(text);
    return `'\\x${seal(ring, name as SealedColumn, serial, column.secret(text)).toString('hex')}'`;
  } catch (error) {
    throw new Error(`line ${line}: ${name}: ${(error as Error).message}`, { cause: error });
  }
}

function literal(text: string): string {
  if (text.includes('\0')) throw new Error('holds a NUL');
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}

/** Waits where the reader is slower than we are. */
function write(text: string): Promise<void> {
  if (process.stdout.write(text)) return Promise.resolve();
  return new Promise((resolve) => process.stdout.once('drain', resolve));
}
