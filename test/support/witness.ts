/** What a gateway wrote, for a look at whether a secret is in it. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expectNoSecret } from './secrets';

/** Milliseconds that a gateway is given to tell its metrics: one that is in trouble may not. */
const SCRAPE_LIMIT = 2_000;

export class Witness {
  private readonly written: Buffer[] = [];

  /** @param logFile what M2M_LOG_FILE says */
  constructor(
    child: ChildProcess,
    private readonly logFile: string | undefined,
  ) {
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => this.written.push(chunk));
  }

  async scrape(ops: string): Promise<void> {
    const signal = AbortSignal.timeout(SCRAPE_LIMIT);
    const options = { signal, headers: { connection: 'close' } };
    const page = await fetch(`${ops}/metrics`, options)
      .then((answer) => answer.text())
      .catch(() => '');
    this.written.push(Buffer.from(page));
  }

  /** Throws where a secret stands in what it wrote. */
  look(): void {
    expectNoSecret("a gateway's output or metrics", Buffer.concat(this.written));
    for (const file of this.logFiles()) expectNoSecret(file, readFileSync(file));
  }

  /** The full ones too. */
  private logFiles(): string[] {
    const { logFile } = this;
    if (logFile === undefined || !existsSync(dirname(logFile))) return [];
    const names = readdirSync(dirname(logFile)).filter((name) => name.startsWith(basename(logFile)));
    return names.map((name) => join(dirname(logFile), name));
  }
}
