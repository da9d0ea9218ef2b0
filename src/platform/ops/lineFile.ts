/**
 * Log lines on their way into a file, in whole lines. A disk that is full loses lines, which are counted; a line that
 * was cut off by it is ended before the next one.
 */
import { writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { countLines } from './logSink';

/** There is room again, for a second. @param lost lines meanwhile @param code what the system said first */
export type OnRoom = (lost: number, code: string) => void;

interface Written {
  readonly bytesWritten: number;
}

/** Takes bytes where the file ends. */
interface Target {
  write(bytes: Buffer): Written | Promise<Written>;
}

/** Milliseconds between two looks at whether things are as they were. */
export const LOOK_INTERVAL = 1_000;

export abstract class LineFile extends Writable {
  /** Lines that could not be written. */
  dropped = 0;
  protected lineIsCut = false;
  private trouble: { lost: number; since: number; readonly code: string } | undefined;

  constructor(
    protected readonly now: () => number,
    private readonly onRoom: OnRoom,
  ) {
    super({ decodeStrings: false });
  }

  override _write(lines: string | Buffer, _encoding: BufferEncoding, done: () => void): void {
    const bytes = Buffer.from(lines as string);
    void this.append(bytes).finally(done);
  }

  /** What has come during a write: one at a time, a busy gateway, which hears of one in each turn, would fall behind. */
  override _writev(waiting: readonly { readonly chunk: unknown }[], done: () => void): void {
    void this.appendAll(waiting.map(({ chunk }) => Buffer.from(chunk as string))).finally(done);
  }

  private async appendAll(waiting: readonly Buffer[]): Promise<void> {
    for (const lot of lotsOf(waiting)) await this.append(lot);
  }

  /** @param coming bytes that are about to be written */
  protected abstract target(coming: number): Target | Promise<Target>;

  protected onWritten(_bytes: number): void {}

  protected onFailure(): void {}

  private async append(bytes: Buffer): Promise<void> {
    let left = bytes;
    try {
      const target = await this.target(bytes.length);
      if (this.lineIsCut) left = Buffer.concat([Buffer.from('\n'), bytes]);
      while (left.length > 0) {
        const { bytesWritten } = await target.write(left);
        this.onWritten(bytesWritten);
        this.lineIsCut = left[bytesWritten - 1] !== 0x0a;
        left = left.subarray(bytesWritten);
      }
      this.succeeded();
    } catch (error) {
      this.failed(left.subarray(-bytes.length), error);
    }
  }

  /** @param lost of a line that was cut off, the end */
  private failed(lost: Buffer, error: unknown): void {
    const lines = countLines(lost);
    this.dropped += lines;
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    this.trouble ??= { lost: 0, since: 0, code };
    this.trouble.lost += lines;
    this.trouble.since = this.now();
    this.onFailure();
  }

  private succeeded(): void {
    const { trouble } = this;
    // A disk that has room for some lines and not for others is one trouble.
    if (trouble === undefined || Math.abs(this.now() - trouble.since) < LOOK_INTERVAL) return;
    this.trouble = undefined;
    this.onRoom(trouble.lost, trouble.code);
  }
}

/** Bytes that are written at once: no file is full before. */
const LOT = 1024 * 1024;

function* lotsOf(waiting: readonly Buffer[]): Generator<Buffer> {
  let [lot, size]: [Buffer[], number] = [[], 0];
  for (const bytes of waiting) {
    if (size > 0 && size + bytes.length > LOT) {
      yield Buffer.concat(lot);
      [lot, size] = [[], 0];
    }
    lot.push(bytes);
    size += bytes.length;
  }
  yield Buffer.concat(lot);
}

/**
 * A file that is open already, as standard output may be. Node's own stream would end with the first error. It is
 * written as that one would: what terminals were answered is there though we are killed in the next moment.
 */
export class OpenLineFile extends LineFile {
  constructor(
    private readonly descriptor: number,
    now: () => number,
    onRoom: OnRoom,
  ) {
    super(now, onRoom);
  }

  protected override target(): Target {
    return { write: (bytes) => ({ bytesWritten: writeSync(this.descriptor, bytes) }) };
  }
}
