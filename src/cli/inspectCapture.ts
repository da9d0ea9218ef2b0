/** `m2m inspect --pcap`: the frames in a capture file, each with its time and its connection. */
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { CaptureError, readCapture, type ByteSource, type CaptureEvent } from '../terminal/capture/capture';
import type { SeenFrame, SeenGap, SeenProxyHeader } from '../terminal/capture/connections';
import type { Endpoint } from '../terminal/capture/segments';
import type { Known } from '../terminal/verify';
import { failed } from './errors';
import { frameText, inspectFrame, jsonForm, Judgement, type Inspected } from './inspectFrame';

interface Options {
  readonly port?: number;
  readonly at?: number;
  readonly json?: true;
  readonly known: Known | undefined;
}

const DEFAULT_PORT = 7750;

export function portValue(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  throw new InvalidArgumentError('It must be 1 to 65535.');
}

export async function inspectCapture(file: string, options: Options): Promise<void> {
  const port = options.port ?? DEFAULT_PORT;
  const fd = open(file);
  try {
    const judgement = new Judgement();
    const count = await show(readCapture(fileSource(fd), port), options, judgement);
    if (count === 0) process.stderr.write(`m2m: no frames of port ${port} in ${file}: --port says which\n`);
    if (judgement.complaint) throw judgement.complaint;
  } catch (error) {
    throw isAboutFile(error) ? failed(`${file}: ${error.message}`) : error;
  } finally {
    closeSync(fd);
  }
}

function open(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw failed(`${file}: ${isMissing ? 'no such file' : (error as Error).message}`);
  }
}

/** A folder can be opened, but not read. */
function isAboutFile(error: unknown): error is Error {
  return error instanceof CaptureError || (error as NodeJS.ErrnoException).syscall === 'read';
}

const READ_SIZE = 65_536;

function fileSource(fd: number): ByteSource {
  let held: Buffer = Buffer.alloc(0);
  return (size) => {
    while (held.length < size) {
      const chunk = Buffer.allocUnsafe(Math.max(READ_SIZE, size - held.length));
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) break;
      held = Buffer.concat([held, chunk.subarray(0, count)]);
    }
    const taken = held.subarray(0, size);
    held = held.subarray(taken.length);
    return taken;
  };
}

/** @returns how many frames and gaps there were */
async function show(events: Iterable<CaptureEvent>, options: Options, judgement: Judgement): Promise<number> {
  let count = 0;
  const logins = new LoginTimes();
  for (const event of events) {
    count++;
    const found = event.kind === 'frame' ? inspectSeen(event, options, logins) : undefined;
    if (found) judgement.note(found, `of connection ${event.connection} at byte ${event.offset}`);
    const text = options.json ? JSON.stringify(jsonOf(event, found)) : textOf(event, found);
    // A capture may be far larger than what can wait for a slow reader.
    if (!process.stdout.write(`${text}\n`)) await once(process.stdout, 'drain');
  }
  return count;
}

/** Above this, the one that was told first is forgotten. */
const MOST_LOGINS = 20_000;

/** What the LOGIN's answer has said on each connection, for the digests of WMMP 3.0 behind it. */
class LoginTimes {
  private readonly times = new Map<number, number>();

  of(connection: number): number | undefined {
    return this.times.get(connection);
  }

  note(connection: number, time: number | undefined): void {
    if (time === undefined) return;
    this.times.set(connection, time);
    const [oldest] = this.times.keys();
    if (this.times.size > MOST_LOGINS && oldest !== undefined) this.times.delete(oldest);
  }
}

/** What the capture does not hold is no fault of the frame. */
function inspectSeen(event: SeenFrame, { at, known }: Options, logins: LoginTimes): Inspected {
  const { bytes, offset, direction, time, state, connection } = event;
  const around = at === undefined && time > 0n ? Number(time / NANOSECONDS) : known?.around;
  const knownThen = known && { ...known, around: around ?? known.around };
  const found = inspectFrame(bytes, offset, direction, knownThen, logins.of(connection));
  logins.note(connection, found.loggedInAt);
  const isCut = state === 'open' && found.fault?.name === 'frame-incomplete';
  return isCut ? { ...found, fault: undefined } : found;
}

function textOf(event: CaptureEvent, found: Inspected | undefined): string {
  const { from, to } = ends(event);
  const title = `${timeText(event.time)} connection ${event.connection}, ${from} -> ${to}, byte ${event.offset}`;
  if (event.kind === 'gap') return `${title}\n${gapText(event)}`;
  if (event.kind === 'proxy') return `${title}\n${proxyText(event)}`;
  if (found === undefined) return title;
  return [frameText(found, title), ...notes(event, found)].join('\n');
}

function gapText({ size, behind }: SeenGap): string {
  const what = `${size} bytes are missing in the capture`;
  return behind === 0 ? what : `${what}; the ${behind} bytes behind them are not read`;
}

function proxyText({ length, source }: SeenProxyHeader): string {
  const whom = source === undefined ? 'the load balancer itself' : endpointText(source);
  return `PROXY protocol header of ${length} bytes, for ${whom}`;
}

function notes({ bytes, state, sawStart }: SeenFrame, { fault }: Inspected): string[] {
  const found: string[] = [];
  if (state === 'open') found.push(`only ${bytes.length} bytes of this frame are in the capture`);
  if (state === 'refused') found.push('such a header closes the connection: nothing behind it is read');
  if (fault !== undefined && !sawStart)
    found.push('the connection began before the capture: this may be the middle of a frame');
  return found;
}

function jsonOf(event: CaptureEvent, found: Inspected | undefined): object {
  const { connection, direction, offset, sawStart } = event;
  const place = { time: timeText(event.time), connection, ...ends(event), saw_start: sawStart };
  if (event.kind === 'frame') return { ...place, state: event.state, ...(found && jsonForm(found)) };
  if (event.kind === 'proxy') return { ...place, direction, proxy: proxyJson(event) };
  return { ...place, direction, gap: { start: offset, size: event.size, behind: event.behind } };
}

function proxyJson({ offset, length, source }: SeenProxyHeader): object {
  return { start: offset, length, source: source === undefined ? null : endpointText(source) };
}

function ends({ direction, terminal, gateway }: CaptureEvent): { from: string; to: string } {
  const [up, down] = [endpointText(terminal), endpointText(gateway)];
  return direction === 'up' ? { from: up, to: down } : { from: down, to: up };
}

function endpointText({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

const NANOSECONDS = 1_000_000_000n;
/** The last second that a Date can hold (ECMA-262, "Time Values"); pcapng has room for later ones. */
const LAST_SECOND = 8_640_000_000_000n;

/** @param time nanoseconds since 1970. @returns ISO 8601 with microseconds */
function timeText(time: bigint): string {
  const seconds = time / NANOSECONDS;
  if (time < 0n || seconds > LAST_SECOND) return `${seconds} s`;
  const micros = String((time % NANOSECONDS) / 1000n).padStart(6, '0');
  return new Date(Number(seconds) * 1000).toISOString().replace('.000Z', `.${micros}Z`);
}
