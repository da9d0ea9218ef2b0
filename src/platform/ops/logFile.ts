/**
 * A log file with rotation, in whole lines, for any number of processes that write to the same one.
 *
 * Each write is one append. A file that is full is renamed to one with the time in its name; whoever still has it open
 * finds that out within a second, and likewise a file that logrotate has moved away.
 */
import { open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LineFile, LOOK_INTERVAL, type OnRoom } from './lineFile';

interface LogFileOptions {
  readonly path: string;
  /** Bytes at which a file is full. */
  readonly size: number;
  /** Full files that are kept. */
  readonly keep: number;
  readonly now: () => number;
  /** A full file that cannot be renamed, so that it grows on, or an old one that cannot be deleted. */
  readonly onError: (error: unknown) => void;
  readonly onRoom: OnRoom;
}

export class LogFile extends LineFile {
  private handle: FileHandle | undefined;
  private inode = 0;
  private length = 0;
  private lookedAt = -Infinity;

  private constructor(private readonly options: LogFileOptions) {
    super(options.now, options.onRoom);
  }

  /** Throws the system's error where the file cannot be written. */
  static async open(options: LogFileOptions): Promise<LogFile> {
    const file = new LogFile(options);
    await file.reopen();
    return file;
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const closed = this.handle?.close().catch(() => undefined) ?? Promise.resolve();
    this.handle = undefined;
    void closed.then(() => done(error));
  }

  protected override onWritten(bytes: number): void {
    this.length += bytes;
  }

  /** Whatever it was, the next lines try the path again. */
  protected override onFailure(): void {
    this.lookedAt = -Infinity;
  }

  /** The file to write to: the open one, unless it was moved away or is full. */
  protected override async target(coming: number): Promise<FileHandle> {
    const now = this.now();
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
