/**
 * Where log lines go: a file descriptor, written in whole lines of which many share one write.
 *
 * A sink that stalls must neither hold up logins nor take memory without bound, so lines beyond the bound are
 * dropped and counted; a sink that is closed drops everything from then on.
 */
import { Writable } from 'node:stream';

/** Bytes held for a reader that is slower than we are. */
const BOUND = 8 * 1024 * 1024;

export class LogSink extends Writable {
  /** Lines that were not written. */
  dropped = 0;
  private lines: string[] = [];
  private held = 0;
  private scheduled = false;
  private closedForGood = false;

  /** @param target standard output, or a file's stream */
  constructor(private readonly target: NodeJS.WritableStream & { writableLength: number }) {
    super({ decodeStrings: false });
    target.on('error', () => {
      this.closedForGood = true;
    });
  }

  override _write(line: string | Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.take(line.toString());
    done();
  }

  /** Whole lines that are bytes already, behind what was written before. */
  relay(lines: Buffer): void {
    if (this.closedForGood || this.held + this.target.writableLength > BOUND) {
      this.dropped += countLines(lines);
      return;
    }
    this.writeOut();
    this.hand(lines);
  }

  /** Writes out what is held. Resolves when it has been handed over, or when that is hopeless. */
  async flush(): Promise<void> {
    this.writeOut();
    if (this.closedForGood || this.target.writableLength === 0) return;
    await new Promise<void>((resolve) => {
      const giveUp = setTimeout(resolve, 1000);
      this.target.write('', () => {
        clearTimeout(giveUp);
        resolve();
      });
    });
  }

  private take(line: string): void {
    if (this.closedForGood || this.held + this.target.writableLength > BOUND) {
      this.dropped++;
      return;
    }
    this.lines.push(line);
    this.held += line.length;
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.writeOut());
  }

  private writeOut(): void {
    this.scheduled = false;
    if (this.lines.length === 0 || this.closedForGood) return;
    const batch = this.lines.join('');
    this.lines = [];
    this.held = 0;
    this.hand(batch);
  }

  private hand(lines: string | Buffer): void {
    this.target.write(lines, (error) => {
      if (error) this.dropped += countLines(Buffer.from(lines as string));
    });
  }
}

export function countLines(bytes: Buffer): number {
  return bytes.reduce((count, byte) => (byte === 0x0a ? count + 1 : count), 0);
}
