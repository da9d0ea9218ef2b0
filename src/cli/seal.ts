/** `m2m seal`: terminals as CSV with plain secrets in, SQL with sealed ones out. */
import type { Command } from 'commander';
import { keyRing, seal, type KeyRing } from '../crypto/sealing';
import { serialBytes } from '../protocol/header';
import { readKeyFile } from '../platform/keys/keyFile';
import { failed } from './errors';
import { COLUMNS, readTerminals, type Name, type TerminalLine } from './sealCsv';
import { checkedSettings, usingKeyFile } from './serveParts';

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
  // Names and labels are in UTF-8, whatever the session takes text for.
  await write("BEGIN;\nSET LOCAL client_encoding = 'UTF8';\n");
  try {
    for await (const terminal of readTerminals(process.stdin)) await write(statement(ring, terminal));
  } catch (error) {
    // What has been written is of no use without COMMIT; and psql, which ends a pipe, must not end with 0.
    await write(`ROLLBACK;\nDO $$ BEGIN RAISE EXCEPTION 'm2m seal failed: nothing was taken'; END $$;\n`);
    throw failed(`standard input: ${error instanceof Error ? error.message : String(error)}`);
  }
  await write('COMMIT;\n');
}

function ringOf(keyFile: string): KeyRing {
  return usingKeyFile(() => keyRing(readKeyFile(keyFile).sealing));
}

/** SQL on one line, but for line ends within a field. Throws an Error that tells line and column. */
export function statement(ring: KeyRing, { line, fields }: TerminalLine): string {
  const serial = fields.get('serial') ?? '';
  const values = [...fields].map(([name, text]) => `${name} => ${value(ring, serial, name, text, line)}`);
  return `SELECT m2m.provision_sealed(${values.join(', ')});\n`;
}

type SecretName = { [K in Name]: (typeof COLUMNS)[K] extends { secret: unknown } ? K : never }[Name];

/** An SQL literal. */
function value(ring: KeyRing, serial: string, name: Name, text: string, line: number): string {
  try {
    serialBytes(serial);
    const column = COLUMNS[name];
    if (!('secret' in column)) return literal(text);
    return literal(`\\x${seal(ring, name as SecretName, serial, column.secret(text)).toString('hex')}`);
  } catch (error) {
    throw new Error(`line ${line}: ${name}: ${(error as Error).message}`, { cause: error });
  }
}

/** One that means the same in every session: E'…' where a backslash is in it. */
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
