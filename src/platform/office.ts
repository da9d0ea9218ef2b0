/** What is done once for all processes of a gateway: texts, HTTP, telling the log of changes made in SQL. */
import { steady } from './clock';
import { newestKeys } from './keys/newestKeys';
import type { Endpoint } from './config/settings';
import { changeTeller } from './ops/changeTeller';
import { OpsService } from './ops/service';
import type { Tokens } from './ops/tokenFile';
import { makeSmsWorker } from './sms/route';
import type { SmsWorker } from './sms/worker';
import type { Audience, Site } from './site';

export interface OfficeOptions {
  /** Those who may introspect sessions, and the file that holds them; undefined: nobody. */
  readonly tokens: { readonly file: string; readonly first: Tokens } | undefined;
  /** Why a login could not be served now; undefined: it could. */
  readonly notReady: () => string | undefined;
  /** Processes that serve terminals now. */
  readonly workers: () => number;
  /** In the exposition format of Prometheus, of all processes. */
  readonly exposition: () => Promise<string>;
}

export class Office {
  private readonly ops: OpsService;
  private readonly sms: SmsWorker;

  constructor(site: Site, options: OfficeOptions, audience: Audience) {
    const { settings, log, metrics, store } = site;
    this.sms = makeSmsWorker({ settings, log, metrics, store });
    this.ops = new OpsService({
      notReady: () => options.notReady() ?? (store.available() ? undefined : 'the database is away'),
      metrics,
      exposition: options.exposition,
      log,
      tokens: options.tokens,
      find: (name) => store.session(name),
      now: steady,
    });
    audience.onChanges.push(changeTeller(log));
    metrics.watchOffice({
      workers: options.workers,
      keys: newestKeys(settings.keyFile),
      outbox: () => store.outbox.waiting(),
    });
  }

  /** @returns host:port with the port really in use */
  listen(endpoint: Endpoint): Promise<string> {
    return this.ops.listen(endpoint);
  }

  start(): void {
    this.sms.start();
  }

  /** A text for somebody has been committed to the outbox. */
  texted(): void {
    this.sms.look();
  }

  async close(): Promise<void> {
    this.ops.close();
    await this.sms.stop();
  }
}
