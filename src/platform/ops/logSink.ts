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
  private closedForGood = false;
  private giveRest: () => void = () => undefined;

  /** @param target standard output, or a file's stream */
  constructor(private readonly target: NodeJS.WritableStream & { writableLength: number }) {
    super({ decodeStrings: false });
    target.on('error', () => {
      this.closedForGood = true;
    });
  }

  override _write(line: string | Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.relay(line);
    done();
  }

  /** @param giveRest called where it matters that nothing is held back by whoever writes here */
  before(giveRest: () => void): void {
    this.giveRest = giveRest;
  }

  /** Whole lines. */
  relay(lines: string | Buffer): void {
    if (this.closedForGood || this.target.writableLength > BOUND) {
      this.dropped += countLines(Buffer.from(lines as string));
      return;
    }
    this.target.write(lines, (error) => {
      if (error) this.dropped += countLines(Buffer.from(lines as string));
    });
  }

  /** Resolves when all has been handed over, or when that is hopeless. @returns whether nothing is left */
  async flush(): Promise<boolean> {
    this.giveRest();
    if (this.closedForGood || this.target.writableLength === 0) return true;
    return new Promise<boolean>((resolve) => {
      const giveUp = setTimeout(resolve, 1000, false);
      this.target.write('', () => {
        clearTimeout(giveUp);
        resolve(true);
      });
    });
  }
}

export function countLines(bytes: Buffer): number {
  return bytes.reduce((count, byte) => (byte === 0x0a ? count + 1 : count), 0);
}
