/** Sessions that stand and ask, each on a connection of its own: how long they wait for their answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { atRate, serve } from '../../support/crew';
import { heartbeat, login, RESULT, type Terminal } from '../../support/oracle';
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

interface Caller {
  readonly terminal: Terminal;
  readonly raw: RawTerminal;
  sequence: number;
}

interface Tally {
  readonly waits: number[];
  sent: number;
}

let callers: Caller[] = [];

async function logIn(where: Where, terminal: Terminal): Promise<Caller> {
  for (let sequence = 1; ; sequence++) {
    const raw = await RawTerminal.open(where);
    const answer = await raw.ask(login(terminal, { sequence })).catch(() => undefined);
    if (answer?.result === RESULT.OK) return { terminal, raw, sequence };
    raw.close();
    await sleep(100);
  }
}

async function beat(caller: Caller, into: Tally): Promise<void> {
  const frame = heartbeat(caller.terminal, { sequence: ++caller.sequence });
  into.sent++;
  const sentAt = performance.now();
  const answer = await caller.raw.askOnce(frame);
  if (answer.result === RESULT.OK) into.waits.push(performance.now() - sentAt);
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
    const into: Tally = { waits: [], sent: 0 };
    let n = 0;
    const next = () => callers[n++ % callers.length]!;
    await atRate(perSecond, ms, () => void beat(next(), into).catch(() => undefined));
    const closed = () => callers.filter(({ raw }) => raw.closed).length;
    const deadline = Date.now() + PATIENCE_MS;
    while (into.waits.length < into.sent && closed() === 0 && Date.now() < deadline) await sleep(5);
    const sorted = Float64Array.from(into.waits).sort();
    return {
      p50: quantile([...sorted], 0.5),
      p99: quantile([...sorted], 0.99),
      sent: into.sent,
      answered: sorted.length,
      closed: closed(),
    };
  },
};

export type HeartbeatOrders = typeof orders;
serve(orders);
