/**
 * Log lines on their way into a file, in whole lines. A disk that is full loses lines, which are counted; a line that
 * was cut off by it is ended before the next one.
 */
import { write } from 'node:fs';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { countLines } from './logSink';

/** There is room again, for a second. @param lost lines meanwhile @param code what the system said first */
export type OnRoom = (lost: number, code: string) => void;

/** Takes bytes where the file ends. */
interface Target {
  write(bytes: Buffer): Promise<{ readonly bytesWritten: number }>;
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

const writeTo = promisify(write);

/** A file that is open already, as standard output may be. Node's own stream would end with the first error. */
export class OpenLineFile extends LineFile {
  constructor(
    private readonly descriptor: number,
    now: () => number,
    onRoom: OnRoom,
  ) {
    super(now, onRoom);
  }

  protected override target(): Target {
    return { write: (bytes) => writeTo(this.descriptor, bytes) };
  }
}
