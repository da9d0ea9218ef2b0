/** One frame as `m2m inspect` shows it, and what a run of them comes to. */
import { decode } from '../protocol/decode';
import { faultText, isFault } from '../protocol/faults';
import { isWmmp, readHeader, type ReadHeader } from '../protocol/header';
import { decodeWmmp } from '../protocol/wmmp/decode';
import { describe, type Description } from '../terminal/describe';
import { frameTable, timeText, type DescribedFrame, type Direction } from '../terminal/frameTable';
import { ofAnother, verify, type Known, type Verdict } from '../terminal/verify';
import { beginsSession, verifyWmmp } from '../terminal/wmmp/verify';
import { failed, usage, type CliError } from './errors';

export interface Inspected extends Description {
  /** Of its first byte in the input. */
  readonly start: number;
  readonly digest: Verdict | undefined;
  /** Unix seconds under the digests of WMMP 3.0 frames behind this one; undefined: it changes nothing. */
  readonly loggedInAt: number | undefined;
}

/**
 * @param known what the terminal's owner knows: digests are checked and secrets shown; undefined: neither
 * @param loggedInAt what the last frame before it on its connection that told it has told
 */
export function inspectFrame(
  bytes: Buffer,
  start: number,
  direction: Direction | undefined,
  known: Known | undefined,
  loggedInAt?: number,
): Inspected {
  const description = describe(bytes, known !== undefined, direction);
  const { frame, fault } = description;
  if (known === undefined || frame === undefined || fault !== undefined) {
    return { ...description, start, digest: undefined, loggedInAt: undefined };
  }
  const header = readHeader(bytes);
  const another = ofAnother(header.serial, known);
  if (another) return { ...description, start, digest: another, loggedInAt: undefined };
  const check = isWmmp(header.version) ? checkWmmp : checkVersion4;
  return { ...description, start, ...check(header, bytes, frame.direction, known, loggedInAt) };
}

type Checked = Pick<Inspected, 'digest' | 'loggedInAt'>;

function checkVersion4(header: ReadHeader, bytes: Buffer, direction: Direction, known: Known): Checked {
  const message = decode(header, bytes);
  return { digest: isFault(message) ? undefined : verify(message, direction, known), loggedInAt: undefined };
}

function checkWmmp(
  header: ReadHeader,
  bytes: Buffer,
  direction: Direction,
  known: Known,
  loggedInAt: number | undefined,
): Checked {
  const message = decodeWmmp(header, bytes, direction);
  if (isFault(message)) return { digest: undefined, loggedInAt: undefined };
  return {
    digest: verifyWmmp(message, direction, known, loggedInAt),
    loggedInAt: beginsSession(message),
  };
}

/** @param title the lines above it */
export function frameText(found: Inspected, ...title: readonly string[]): string {
  const parts = [...title];
  if (found.frame) parts.push(`${heading(found.frame)}\n${frameTable(found.frame)}`);
  if (found.fault) parts.push(`malformed at ${faultText(found.fault)}`);
  if (found.digest) parts.push(digestText(found.digest));
  return parts.join('\n');
}

function heading(frame: DescribedFrame): string {
  const way = frame.direction === 'up' ? 'terminal to gateway' : 'gateway to terminal';
  const what = `${frame.command}${frame.response ? ' response' : ''}, ${way}`;
  return 'dialect' in frame ? `${frame.dialect}: ${what}` : what;
}

function digestText(verdict: Verdict): string {
  if (verdict.verdict === 'unchecked') return `digest not checked: ${verdict.why}`;
  if (verdict.verdict === 'wrong') {
    return `digest WRONG under timestamp ${verdict.tried.map(timestampText).join(', ')}`;
  }
  const baseKey =
    verdict.baseKey === undefined ? '' : `; BASE_KEY_DIGEST ${verdict.baseKey ? 'good' : 'WRONG'}`;
  return `digest good under timestamp ${timestampText(verdict.timestamp)}${baseKey}`;
}

/** 0 stands for none: a LOGIN of WMMP 3.0 has no other. */
function timestampText(time: number): string {
  return time === 0 ? '0' : `${time} (${timeText(time)})`;
}

export function jsonForm({ start, frame, fault, digest }: Inspected): object {
  return {
    start,
    ...frame,
    fault: fault === undefined ? null : { name: fault.name, offset: fault.offset, text: faultText(fault) },
    ...(digest && { digest: digestJson(digest) }),
  };
}

function digestJson(verdict: Verdict): object {
  if (verdict.verdict !== 'good') return verdict;
  return { verdict: 'good', timestamp: verdict.timestamp, base_key_digest: baseKeyJson(verdict.baseKey) };
}

function baseKeyJson(good: boolean | undefined): string | null {
  if (good === undefined) return null;
  return good ? 'good' : 'wrong';
}

/** What all frames come to: the first that is malformed, then a wrong digest, then none that could be checked. */
export class Judgement {
  private malformed: string | undefined;
  private isWrong = false;
  private isChecked = false;
  private lacking: string | undefined;

  /** @param where it stands, for the message */
  note({ fault, digest }: Inspected, where: string): void {
    if (fault !== undefined) this.malformed ??= `malformed frame ${where}: ${faultText(fault)}`;
    if (digest === undefined) return;
    this.isWrong ||= isWrong(digest);
    this.isChecked ||= digest.verdict === 'good';
    if (digest.verdict === 'unchecked' && digest.lacks) this.lacking ??= digest.why;
  }

  /** Undefined: there is nothing to complain of. */
  get complaint(): CliError | undefined {
    if (this.malformed !== undefined) return failed(this.malformed);
    if (this.isWrong) return failed('a digest is wrong');
    const isVain = !this.isChecked && this.lacking !== undefined;
    return isVain ? usage(`no digest could be checked: ${this.lacking}`) : undefined;
  }
}

function isWrong(verdict: Verdict): boolean {
  return verdict.verdict === 'wrong' || (verdict.verdict === 'good' && verdict.baseKey === false);
}
