/**
 * A log file with rotation, in whole lines, for any number of processes that write to the same one.
 *
 * Each write is one append. A file that is full is renamed to one with the time in its name; whoever still has it open
 * finds that out within a second, and likewise a file that logrotate has moved away. A disk that is full loses lines,
 * which are counted; a line that was cut off by it is ended before the next one.
 */
import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { countLines } from './logSink';

export interface LogFileOptions {
  readonly path: string;
  /** Bytes at which a file is full. */
  readonly size: number;
  /** Full files that are kept. */
  readonly keep: number;
  readonly now: () => number;
  /** A full file that cannot be renamed, so that it grows on, or an old one that cannot be deleted. */
  readonly onError: (error: unknown) => void;
  /** There is room again, for a second. @param lost lines meanwhile @param code what the system said first */
  readonly onRoom: (lost: number, code: string) => void;
}

/** Milliseconds between two looks at whether the path still leads to the open file. */
const LOOK_INTERVAL = 1_000;

export class LogFile extends Writable {
  /** Lines that could not be written. */
  dropped = 0;
  private handle: FileHandle | undefined;
  private inode = 0;
  private length = 0;
  private lookedAt = -Infinity;
  private lineIsCut = false;
  private trouble: { lost: number; since: number; readonly code: string } | undefined;

  private constructor(private readonly options: LogFileOptions) {
    super({ decodeStrings: false });
  }

  /** Throws the system's error where the file cannot be written. */
  static async open(options: LogFileOptions): Promise<LogFile> {
    const file = new LogFile(options);
    await file.reopen();
    return file;
  }

  override _write(lines: string | Buffer, _encoding: BufferEncoding, done: () => void): void {
    const bytes = Buffer.from(lines as string);
    void this.append(bytes).finally(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const closed = this.handle?.close().catch(() => undefined) ?? Promise.resolve();
    this.handle = undefined;
    void closed.then(() => done(error));
  }

  private async append(bytes: Buffer): Promise<void> {
    let left = bytes;
    try {
      const handle = await this.fresh(bytes.length);
      if (this.lineIsCut) left = Buffer.concat([Buffer.from('\n'), bytes]);
      while (left.length > 0) {
        const { bytesWritten } = await handle.write(left);
        this.length += bytesWritten;
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
    this.trouble.since = this.options.now();
    // Whatever it was, the next lines try the path again.
    this.lookedAt = -Infinity;
  }

  private succeeded(): void {
    const { trouble, options } = this;
    // A disk that has room for some lines and not for others is one trouble.
    if (trouble === undefined || Math.abs(options.now() - trouble.since) < LOOK_INTERVAL) return;
    this.trouble = undefined;
    options.onRoom(trouble.lost, trouble.code);
  }

  /** The file to write to: the open one, unless it was moved away or is full. */
  private async fresh(coming: number): Promise<FileHandle> {
    const now = this.options.now();
    if (Math.abs(now - this.lookedAt) >= LOOK_INTERVAL) {
      this.lookedAt = now;
      const there = await stat(this.options.path).catch(() => undefined);
      if (there?.ino !== this.inode) await this.reopen();
      else this.length = there.size;
    }
    if (this.length > 0 && this.length + coming > this.options.size) await this.rotate(now);
    return this.handle ?? this.reopen();
  }

  private async rotate(now: number): Promise<void> {
    const { path } = this.options;
    const there = await stat(path).catch(() => undefined);
    // Another process may have been faster.
    if (there?.ino === this.inode) await this.moveAway(`${path}-${stamp(now)}-${process.pid}`);
    await this.reopen();
    // Too many full files are no reason to lose a line.
    await this.prune().catch(this.options.onError);
  }

  private async moveAway(to: string): Promise<void> {
    await rename(this.options.path, to).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.options.onError(error);
    });
  }

  private async reopen(): Promise<FileHandle> {
    const before = this.handle;
    this.handle = undefined;
    await before?.close().catch(() => undefined);
    this.handle = await open(this.options.path, 'a', 0o640);
    const { ino, size } = await this.handle.stat();
    this.inode = ino;
    this.length = size;
    this.lineIsCut = false;
    return this.handle;
  }

  /** Names sort by time. */
  private async prune(): Promise<void> {
    const folder = dirname(this.options.path);
    const prefix = `${basename(this.options.path)}-`;
    const full = (await readdir(folder))
      .filter((name) => name.startsWith(prefix) && STAMPED.test(name))
      .sort();
    const old = full.slice(0, Math.max(0, full.length - this.options.keep));
    await Promise.all(old.map((name) => rm(join(folder, name), { force: true })));
  }
}

const STAMPED = /-\d{8}T\d{9}Z-\d+$/;

function stamp(now: number): string {
  return new Date(now).toISOString().replace(/[-:.]/g, '');
}
