/** From the setting M2M_SMS to a worker that sends texts that way. */
import type { Settings } from '../config/settings';
import type { Log } from '../ops/log';
import type { Metrics } from '../ops/metrics';
import type { GatewayStore } from '../store/store';
import { Smpp } from './smpp';
import type { TakeReceipt, Transport } from './transport';
import { Webhook } from './webhook';
import { SmsWorker } from './worker';

export interface SmsParts {
  readonly settings: Pick<Settings, 'sms' | 'smsGiveUp'>;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly store: GatewayStore;
}

export function makeSmsWorker({ settings, log, metrics, store }: SmsParts): SmsWorker {
  const made: { worker?: SmsWorker } = {};
  const onReceipt: TakeReceipt = (receipt) => made.worker?.receipt(receipt) ?? Promise.resolve(false);
  made.worker = new SmsWorker({
    outbox: store.outbox,
    transport: () => makeTransport(settings.sms, log, onReceipt),
    giveUpAfter: settings.smsGiveUp,
    log,
    count: (result) => metrics.texts.inc({ result }),
    available: () => store.available(),
    onError: store.onError,
    random: Math.random,
  });
  return made.worker;
}

function makeTransport(route: Settings['sms'], log: Log, onReceipt: TakeReceipt): Transport | undefined {
  if (route.kind === 'outbox') return undefined;
  if (route.kind === 'webhook') return new Webhook(route.url);
  const where = `${route.host}:${route.port}`;
  const onLink = (up: boolean, why: string) =>
    log.event('sms-link', {
      message: up ? `texts go to the SMSC at ${where}` : `the SMSC at ${where} is away: ${why}`,
      level: up ? 'info' : 'warn',
      outcome: up ? 'success' : 'failure',
      detail: why,
    });
  return new Smpp({ ...route, onReceipt, onLink });
}
