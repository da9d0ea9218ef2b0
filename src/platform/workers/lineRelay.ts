/**
 * The output of a worker on its way to the one that writes for all of them: whole lines only. Processes that write to
 * one pipe by themselves would break each other's lines.
 */
const NEWLINE = 0x0a;

export class LineRelay {
  private rest: Buffer[] = [];

  /** @param take gets one or more whole lines */
  constructor(private readonly take: (lines: Buffer) => void) {}

  push(chunk: Buffer): void {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      this.take(Buffer.concat([...this.rest, chunk.subarray(0, end)]));
      this.rest = [];
    }
    if (end < chunk.length) this.rest.push(chunk.subarray(end));
  }
}
