/** `m2m packet mint`: credential packets for two-way login, one by one or for a production line. */
import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { parse } from 'csv-parse/sync';
import { hardwareHash, sealPacket } from '../crypto/credentialPacket';
import type { SealingKey } from '../crypto/sealing';
import { serialBytes } from '../protocol/header';
import { KeyFileError, readKeyFile } from '../platform/keys/keyFile';
import { failed, usage } from './errors';
import { withDatabase, type OwnConnection } from './keyDatabase';
import { ProgressBar } from './progress';
import { checkedSettings, usingKeyFile } from './serveParts';
import { hardwareIdValue } from './values';

interface MintOptions {
  readonly hardwareId?: Buffer;
  readonly csv?: string;
  readonly out?: string;
}

interface Order {
  readonly serial: string;
  /** 1 to 64 bytes. */
  readonly hardwareId: Buffer;
}

/** One of a file. */
interface Line extends Order {
  /** Its place, for people: file and line. */
  readonly at: string;
}

export function register(program: Command): void {
  program
    .command('packet')
    .description('credential packets of two-way login')
    .command('mint')
    .description('mints a packet for a terminal and prints it as hexadecimal; or one for each line of a CSV')
    .argument('[serial]', 'serial number of a provisioned terminal')
    .option(
      '--hardware-id <id>',
      'what is unique in the device, as text or \\x…, 1 to 64 bytes',
      hardwareIdValue,
    )
    .option('--csv <file>', 'a header line with serial,hardware_id and one terminal a line')
    .option(
      '--out <file>',
      'with --csv: where serial,packet lines go; what stands there already is not minted again',
    )
    .action(mint);
}

async function mint(serial: string | undefined, options: MintOptions): Promise<void> {
  const settings = checkedSettings();
  const order = orderOf(serial, options);
  const lines = options.csv === undefined ? [] : readLines(options.csv);
  const key = packetKey(settings.keyFile);
  await withDatabase(settings, async (database) => {
    if (order === undefined) return mintAll(database, key, lines, options.out);
    process.stdout.write(`${await mintOne(database, key, order)}\n`);
  });
}

/** Undefined: the terminals are named by --csv. */
function orderOf(serial: string | undefined, { hardwareId, csv, out }: MintOptions): Order | undefined {
  if (csv !== undefined) {
    if (serial !== undefined || hardwareId !== undefined) throw usage('--csv names the terminals itself');
    return undefined;
  }
  if (out !== undefined) throw usage('--out goes with --csv');
  if (serial === undefined) throw usage('a serial number is needed, or --csv');
  if (hardwareId === undefined) throw usage('--hardware-id is needed');
  return { serial, hardwareId };
}

function packetKey(keyFile: string): SealingKey {
  return usingKeyFile(() => {
    const key = readKeyFile(keyFile).packet.at(-1);
    if (key === undefined) throw new KeyFileError(keyFile, 'no packet key');
    return key;
  });
}

/** Throws where a line cannot be used, before anything is minted. */
function readLines(file: string): Line[] {
  const seen = new Map<string, number>();
  return readCsv(file).map(({ record, line }) => {
    const { serial, hardware_id: id } = record;
    const at = `${file}, line ${line}`;
    try {
      if (!serial) throw new Error('serial is missing');
      if (!id) throw new Error('hardware_id is missing');
      serialBytes(serial);
      const first = seen.get(serial);
      if (first !== undefined) throw new Error(`serial ${serial} stands in line ${first} already`);
      seen.set(serial, line);
      return { serial, hardwareId: hardwareIdValue(id), at };
    } catch (error) {
      throw failed(`${at}: ${(error as Error).message}`);
    }
  });
}

const COLUMNS = ['serial', 'hardware_id'];

function header(names: string[]): string[] {
  const missing = COLUMNS.find((name) => !names.includes(name));
  if (missing !== undefined) throw new Error(`line 1 has no column ${missing}: it must be ${COLUMNS.join()}`);
  const twice = COLUMNS.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice !== undefined) throw new Error(`line 1 has column ${twice} twice`);
  return names;
}

/** Decoding would put U+FFFD in place of what is no UTF-8, and the packet would be for another hardware id. */
function utf8(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString();
  for (let [start, line] = [0, 1]; ; line++) {
    const end = bytes.indexOf('\n', start);
    if (end < 0 || !isUtf8(bytes.subarray(start, end))) throw new Error(`line ${line} is not UTF-8`);
    start = end + 1;
  }
}

function readCsv(file: string): { record: Record<string, string>; line: number }[] {
  try {
    const parsed = parse(utf8(readFileSync(file)), {
      columns: header,
      bom: true,
      info: true,
      skip_empty_lines: true,
    }) as unknown as {
      record: Record<string, string>;
      info: { lines: number };
    }[];
    return parsed.map(({ record, info }) => ({ record, line: info.lines }));
  } catch (error) {
    throw failed(`${file}: ${(error as Error).message}`);
  }
}

async function mintOne(
  database: OwnConnection,
  key: SealingKey,
  { serial, hardwareId }: Order,
): Promise<string> {
  const number = randomBytes(8);
  const { rows } = await database.query({
    text: 'SELECT imei, issued_at FROM m2m.note_packet($1, $2, $3)',
    values: [serial, number, Buffer.from(key.id, 'hex')],
  });
  const [imei, issuedAt] = rows[0] ?? [];
  const content = {
    number: number.toString('hex'),
    issuedAt: Number(issuedAt),
    imei: imei as string,
    hardwareHash: hardwareHash(hardwareId),
  };
  return sealPacket(key, serialBytes(serial), content, randomBytes(12)).toString('hex');
}

/** One line a packet, on storage before the next is minted, so that a run that was stopped goes on where it was. */
async function mintAll(
  database: OwnConnection,
  key: SealingKey,
  lines: readonly Line[],
  out: string | undefined,
): Promise<void> {
  const done = out === undefined ? new Set<string>() : linesDone(out);
  const file = out === undefined ? undefined : openSync(out, 'a', 0o600);
  const bar = new ProgressBar('minting');
  try {
    for (const [i, order] of lines.entries()) {
      bar.update(i, lines.length);
      if (done.has(order.serial)) continue;
      const packet = await mintOne(database, key, order).catch((error: unknown) => {
        throw failed(`${order.at}: ${(error as Error).message}`);
      });
      const line = `${order.serial},${packet}\n`;
      if (file === undefined) process.stdout.write(line);
      else writeDurably(file, line);
    }
  } finally {
    bar.end();
    if (file !== undefined) closeSync(file);
  }
  const minted = lines.filter(({ serial }) => !done.has(serial)).length;
  process.stderr.write(`m2m: ${minted} packets minted, ${lines.length - minted} were there already\n`);
}

function writeDurably(file: number, line: string): void {
  writeSync(file, line);
  fsyncSync(file);
}

/** Serials whose packets stand in the file; a last line that was cut off is taken away, and the header put where it lacks. */
function linesDone(out: string): Set<string> {
  const text = existsSync(out) ? readFileSync(out, 'utf8') : '';
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const file = openSync(out, 'a', 0o600);
  ftruncateSync(file, Buffer.byteLength(whole));
  if (whole === '') writeDurably(file, 'serial,packet\n');
  closeSync(file);
  return new Set(whole.split('\n').map((line) => line.split(',')[0] ?? ''));
}
