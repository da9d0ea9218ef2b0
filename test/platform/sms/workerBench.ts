import type { LogFacts } from '../../../src/platform/ops/log';
import type { Handed, Receipt } from '../../../src/platform/sms/transport';
import { SmsWorker } from '../../../src/platform/sms/worker';
import type { Attempt, FoundText, Outbox, TakenText } from '../../../src/platform/store/outbox';

export const text = (id: number, attempts = 1): TakenText => ({
  id,
  serial: `T-${id}`,
  msisdn: '+41790000000',
  text: 'M2M2 C=1 S=x',
  attempts,
});

const NOBODYS: FoundText = { text: undefined, undecided: false, cameAt: 0 };

interface Sending {
  readonly id: number;
  readonly finish: (handed: Handed) => void;
}

/** A worker with a fake outbox and a fake transport, on jest's clock. */
export function bench({ asTransport = true, giveUpAfter = 86_400 } = {}) {
  const state = { available: true, random: 0, closed: 0 };
  const due: TakenText[] = [];
  const sending: Sending[] = [];
  const notes: unknown[] = [];
  const log: LogFacts[] = [];
  const counted: string[] = [];
  const errors: unknown[] = [];
  const note =
    (name: string) =>
    (...values: unknown[]) =>
      Promise.resolve(void notes.push([name, ...values]));
  const outbox = {
    take: (most: number) => Promise.resolve(due.splice(0, most)),
    openAsked: note('opened'),
    delivered: note('delivered'),
    accepted: ({ id }: Attempt, messageId: string) => note('accepted')(id, messageId),
    failed: ({ id }: Attempt, why: string, wait: number) => note('failed')(id, why, wait),
    receipt: (_: Receipt, _cameAt?: number): Promise<FoundText> => Promise.resolve(NOBODYS),
    tidy: (_: number): Promise<{ id: number; serial: string; why: string }[]> => Promise.resolve([]),
  };
  const transport = {
    ready: true,
    send: ({ id }: TakenText) =>
      new Promise<Handed>((resolve) => {
        sending.push({ id, finish: resolve });
      }),
    close: () => {
      state.closed += 1;
      for (const { finish } of sending) finish({ kind: 'failed', why: 'the gateway stops' });
      return Promise.resolve();
    },
  };
  const worker = new SmsWorker({
    outbox: outbox as unknown as Outbox,
    transport: () => (asTransport ? transport : undefined),
    giveUpAfter,
    log: { event: (_action, facts) => void log.push(facts) },
    count: (result) => void counted.push(result),
    available: () => state.available,
    onError: (error) => void errors.push(error),
    random: () => state.random,
  });
  worker.start();
  const pass = (ms = 0) => jest.advanceTimersByTimeAsync(ms);
  return { due, sending, notes, log, counted, errors, outbox, transport, state, worker, pass };
}
