/** `m2m inspect`: frames decoded field by field, faults by offset, digests where the secrets are given. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Option } from 'commander';
import { HEADER_SIZE, readHeader } from '../protocol/header';
import { FileFlash } from '../terminal/flash';
import type { Direction } from '../terminal/frameTable';
import type { DeviceState } from '../terminal/state';
import type { Known } from '../terminal/verify';
import { usage } from './errors';
import { inspectCapture, portValue } from './inspectCapture';
import { frameText, inspectFrame, jsonForm, Judgement, type Inspected } from './inspectFrame';
import { baseKeyValue, imeiValue, imsiValue, passwordValue, serialValue, timeValue } from './values';

interface Options {
  readonly pcap?: string;
  readonly port?: number;
  readonly direction?: Direction;
  readonly serial?: string;
  readonly uplink?: Buffer;
  readonly downlink?: Buffer;
  readonly baseKey?: Buffer;
  readonly imei?: string;
  readonly imsi?: string;
  readonly timestamp?: number;
  readonly at?: number;
  readonly state?: string;
  readonly json?: true;
}

export function register(program: Command): void {
  program
    .command('inspect')
    .summary('decode frames, explain malformed ones, check digests')
    .description(
      'Decodes one frame or several, one behind the other. Exit code 1 where one is malformed or its digest is wrong.',
    )
    .argument(
      '[hex-or-file...]',
      'hexadecimal (blanks, colons and 0x allowed), or a file of bytes or of that',
    )
    .option('--pcap <file>', 'frames out of a capture (pcap or pcapng) instead, in the order of time')
    .option('--port <number>', "the gateway's port in the capture (default: 7750)", portValue)
    .addOption(
      new Option('--direction <way>', 'up or down; default: guessed from the command')
        .choices(['up', 'down'])
        .conflicts('pcap'),
    )
    .option('--serial <text>', 'whose secrets these are: digests of others are not checked', serialValue)
    .option('--uplink <secret>', 'uplink password, as text or \\x…: checks uplink digests', passwordValue)
    .option('--downlink <secret>', 'downlink password: checks downlink digests', passwordValue)
    .option('--base-key <secret>', 'base key: checks BASE_KEY_DIGEST', baseKeyValue)
    .option('--imei <digits>', 'under the digest of frames that do not carry it', imeiValue)
    .option('--imsi <digits>', 'under the digest of frames that do not carry it', imsiValue)
    .option(
      '--timestamp <time>',
      "under the digest of frames that do not carry it; in WMMP 3.0 that of the LOGIN's answer, where that is not there too",
      timeValue,
    )
    .option(
      '--at <time>',
      'when such frames were sent: the minutes around it are tried (default: now; in a capture: its times)',
      timeValue,
    )
    .option('--state <file>', "a device's state file, for the serial and all of these secrets")
    .option('--json', 'one JSON object a frame')
    .action(inspect);
}

async function inspect(input: readonly string[], options: Options): Promise<void> {
  const known = knownSecrets(options);
  if (options.pcap !== undefined) {
    if (input.length > 0) throw usage('either --pcap or frames, not both');
    return inspectCapture(options.pcap, { ...options, known });
  }
  if (options.port !== undefined) throw usage('--port goes with --pcap');
  if (input.length === 0) throw usage('nothing to inspect: give frames, or a capture with --pcap');
  inspectInput(input, options, known);
}

function inspectInput(input: readonly string[], options: Options, known: Known | undefined): void {
  const frames = inspectAll(readInput(input), options.direction, known);
  const judgement = new Judgement();
  for (const [index, found] of frames.entries()) {
    const title =
      frames.length > 1 ? [`frame ${index + 1} of ${frames.length}, from byte ${found.start}`] : [];
    const text = options.json ? JSON.stringify(jsonForm(found)) : frameText(found, ...title);
    process.stdout.write(`${text}\n`);
    judgement.note(found, `at byte ${found.start}`);
  }
  const { complaint } = judgement;
  if (complaint) throw complaint;
}

/** Taken for one connection: what a LOGIN's answer says holds for the frames behind it. */
function inspectAll(
  bytes: Buffer,
  direction: Direction | undefined,
  known: Known | undefined,
): readonly Inspected[] {
  let loggedInAt: number | undefined;
  return [...split(bytes)].map(({ start, frame }) => {
    const found = inspectFrame(frame, start, direction, known, loggedInAt);
    loggedInAt = found.loggedInAt ?? loggedInAt;
    return found;
  });
}

function readInput(input: readonly string[]): Buffer {
  const text = input.join(' ');
  const hex = fromHex(text);
  if (hex !== undefined) return notEmpty(hex);
  const file = input[0] ?? '';
  if (input.length > 1)
    throw usage('several arguments are taken for one text of hexadecimal, which it is not');
  return notEmpty(readFrameFile(file));
}

function readFrameFile(file: string): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message;
    throw usage(`${shortened(file)}: neither an even number of hexadecimal digits nor a file: ${why}`);
  }
  return fromHex(content.toString('latin1')) ?? content;
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function notEmpty(bytes: Buffer): Buffer {
  if (bytes.length === 0) throw usage('nothing to inspect: the input is empty');
  return bytes;
}

/** Undefined where it is anything else than whole bytes in hexadecimal. */
function fromHex(text: string): Buffer | undefined {
  const digits = text.replaceAll(/\s|:|0x|\\x/gi, '');
  return /^([0-9a-f]{2})*$/i.test(digits) ? Buffer.from(digits, 'hex') : undefined;
}

/** Cuts by the length of each header. What cannot be cut further is one frame to the end. */
function* split(bytes: Buffer): Generator<{ start: number; frame: Buffer }> {
  let start = 0;
  while (start < bytes.length) {
    const rest = bytes.subarray(start);
    const length = rest.length >= HEADER_SIZE ? readHeader(rest).length : 0;
    const frame = length >= HEADER_SIZE && length <= rest.length ? rest.subarray(0, length) : rest;
    yield { start, frame };
    start += frame.length;
  }
}

/** Undefined where no secret is given, so that nothing is to be checked. */
function knownSecrets(options: Options): Known | undefined {
  const secrets = [options.state, options.uplink, options.downlink, options.baseKey];
  if (secrets.every((secret) => secret === undefined)) return undefined;
  const stored: Partial<DeviceState> = options.state === undefined ? {} : new FileFlash(options.state).read();
  return {
    serial: options.serial ?? stored.serial,
    imei: options.imei ?? stored.imei,
    imsi: options.imsi ?? stored.imsi,
    uplinkPassword: options.uplink ?? stored.uplinkPassword,
    downlinkPassword: options.downlink ?? stored.downlinkPassword,
    baseKey: options.baseKey ?? stored.baseKey,
    timestamp: options.timestamp,
    around: options.at ?? Math.floor(Date.now() / 1000),
  };
}
