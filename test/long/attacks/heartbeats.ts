/** Sessions that stand and ask, each on a connection of its own: how long they wait for their answers. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { atRate, serve } from '../../support/crew';
import { heartbeat, login, RESULT, Splitter, type Parsed, type Terminal } from '../../support/oracle';
import { RawTerminal } from '../../support/socket';

const PATIENCE_MS = 240_000;

export interface Where {
  readonly host: string;
  readonly port: number;
}

export interface Waits {
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly sent: number;
  readonly answered: number;
  /** Connections that have been closed. */
  readonly closed: number;
}

/** Milliseconds that answers were waited for, of one measurement. */
interface Tally {
  readonly waits: number[];
  sent: number;
}

/** One session. Further heartbeats do not wait for the answers of earlier ones. */
class Caller {
  private readonly splitter = new Splitter();
  private readonly asked = new Map<number, { readonly at: number; readonly tally: Tally }>();

  constructor(
    private readonly terminal: Terminal,
    private readonly socket: Socket,
    private sequence: number,
  ) {
    socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
      for (const frame of this.splitter.push(chunk)) this.hear(frame);
    });
  }

  get isClosed(): boolean {
    return this.socket.readableEnded || this.socket.destroyed;
  }

  beat(tally: Tally): void {
    const frame = heartbeat(this.terminal, { sequence: ++this.sequence });
    tally.sent++;
    this.asked.set(this.sequence, { at: performance.now(), tally });
    this.socket.write(frame);
  }

  private hear({ sequence, result }: Parsed): void {
    const asked = this.asked.get(sequence);
    this.asked.delete(sequence);
    if (result === RESULT.OK) asked?.tally.waits.push(performance.now() - asked.at);
  }
}

let callers: Caller[] = [];

async function logIn(where: Where, terminal: Terminal): Promise<Caller> {
  for (let sequence = 1; ; sequence++) {
    const raw = await RawTerminal.open(where);
    const answer = await raw.ask(login(terminal, { sequence })).catch(() => undefined);
    if (answer?.result === RESULT.OK) return new Caller(terminal, raw.socket, sequence);
    raw.close();
    await sleep(100);
  }
}

/** Of sorted ones. */
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;

const orders = {
  async logIn({ where, terminals }: { where: Where; terminals: readonly Terminal[] }): Promise<void> {
    callers = [];
    for (const terminal of terminals) callers.push(await logIn(where, terminal));
  },

  async measure({ perSecond, ms }: { perSecond: number; ms: number }): Promise<Waits> {
    const tally: Tally = { waits: [], sent: 0 };
    let n = 0;
    await atRate(perSecond, ms, () => callers[n++ % callers.length]!.beat(tally));
    const closed = () => callers.filter(({ isClosed }) => isClosed).length;
    const deadline = Date.now() + PATIENCE_MS;
    while (tally.waits.length < tally.sent && closed() === 0 && Date.now() < deadline) await sleep(5);
    const sorted = [...Float64Array.from(tally.waits).sort()];
    return {
      p50: quantile(sorted, 0.5),
      p99: quantile(sorted, 0.99),
      sent: tally.sent,
      answered: sorted.length,
      closed: closed(),
    };
  },
};

export type HeartbeatOrders = typeof orders;
serve(orders);
