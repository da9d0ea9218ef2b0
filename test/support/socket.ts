/** A raw socket that speaks frames of the oracle: what a firmware engineer has on the bench. */
import { connect, type Socket } from 'node:net';
import { COMMAND, RESULT, Splitter, type Parsed } from './oracle';
import { WmmpSplitter, type ParsedWmmp } from './wmmpOracle';

const PATIENCE_MS = 240_000;

interface Where {
  readonly host: string;
  readonly port: number;
}

export class RawTerminal<Frame = Parsed> {
  readonly received: Frame[] = [];
  private waiting: (() => void)[] = [];
  private ended = false;
  private taken = 0;

  private constructor(
    readonly socket: Socket,
    splitter: { push(chunk: Buffer): Frame[] },
  ) {
    socket.on('data', (chunk: Buffer) => {
      this.received.push(...splitter.push(chunk));
      this.wake();
    });
    socket.on('end', () => this.finish());
    socket.on('close', () => this.finish());
    socket.on('error', () => this.finish());
  }

  static async open(to: Where, localAddress?: string): Promise<RawTerminal> {
    return new RawTerminal(await connected(to, localAddress), new Splitter());
  }

  /** Over a connection that stands already, such as one inside TLS. */
  static over(socket: Socket): RawTerminal {
    return new RawTerminal(socket, new Splitter());
  }

  /** One that reads frames of WMMP 3.0. */
  static async openWmmp(to: Where, localAddress?: string): Promise<RawTerminal<ParsedWmmp>> {
    return new RawTerminal(await connected(to, localAddress), new WmmpSplitter());
  }

  /** Whether the gateway has closed its side. */
  get closed(): boolean {
    return this.ended;
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** The next frame from the gateway. */
  async next(): Promise<Frame> {
    await this.until(() => this.received.length > this.taken || this.ended, 'a frame');
    const frame = this.received[this.taken];
    if (frame === undefined) throw new Error('the gateway closed the connection instead of answering');
    this.taken++;
    return frame;
  }

  /** One frame and its answer. A login that is told BUSY comes again, as a terminal does: somebody held its row just then. */
  async ask(frame: Buffer): Promise<Frame> {
    for (;;) {
      const answer = await this.askOnce(frame);
      if (!isBusy(answer) || !isLogin(frame)) return answer;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async askOnce(frame: Buffer): Promise<Frame> {
    this.send(frame);
    return this.next();
  }

  /** Resolves when the gateway has closed its side. */
  async end(): Promise<void> {
    await this.until(() => this.ended, 'the end of the connection');
  }

  close(): void {
    this.socket.destroy();
  }

  private async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!condition()) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`waited in vain for ${what}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  private finish(): void {
    this.ended = true;
    this.wake();
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}

function isLogin(frame: Buffer): boolean {
  return frame.readUInt16BE(2) === COMMAND.LOGIN;
}

function isBusy(answer: unknown): boolean {
  return (answer as Partial<Parsed>).result === RESULT.BUSY;
}

async function connected(to: Where, localAddress: string | undefined): Promise<Socket> {
  const socket = connect({ ...to, ...(localAddress === undefined ? {} : { localAddress }) });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket.setNoDelay(true);
}
