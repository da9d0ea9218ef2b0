/** The HTTP side of a gateway, from its tokens to its port. */
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { followFile } from '../config/followFile';
import type { Endpoint } from '../config/settings';
import { hostPort } from '../listener/listener';
import type { LiveSession, SessionName } from '../store/introspect';
import { createOpsServer } from './http';
import { Introspection } from './introspection';
import type { Log } from './log';
import type { Metrics } from './metrics';
import { readTokenFile, type Tokens } from './tokenFile';

export interface OpsOptions {
  readonly notReady: () => string | undefined;
  readonly metrics: Metrics;
  /** All counters as text, in the format of `metrics`. */
  readonly exposition: () => Promise<string>;
  readonly log: Log;
  /** Those who may introspect, and the file that holds them; undefined: nobody. */
  readonly tokens: { readonly file: string; readonly first: Tokens } | undefined;
  readonly find: (name: SessionName) => Promise<LiveSession | undefined>;
  readonly now: () => number;
}

export class OpsService {
  private readonly server;
  private tokens: Tokens | undefined;
  private unwatch: () => void = () => undefined;

  constructor(private readonly options: OpsOptions) {
    const { notReady, metrics, exposition, log, find, now } = options;
    this.tokens = options.tokens?.first;
    const introspection = new Introspection({
      tokens: () => this.tokens,
      find,
      log,
      counted: (result) => metrics.introspections.inc({ result }),
      now,
    });
    this.server = createOpsServer({
      notReady,
      metrics: exposition,
      metricsType: metrics.registry.contentType,
      introspect: (request) => introspection.answer(request),
    });
  }

  /** @returns host:port with the port really in use */
  async listen(endpoint: Endpoint): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject).listen(endpoint, resolve);
    });
    // A connection that could not be accepted, where descriptors have run out: the server goes on.
    this.server.on('error', () => undefined);
    this.watchTokens();
    return hostPort(this.server.address() as AddressInfo);
  }

  close(): void {
    this.unwatch();
    this.server.close();
    this.server.closeAllConnections();
  }

  /** Tokens that are added or removed hold without a restart; a file that cannot be used changes nothing. */
  private watchTokens(): void {
    const { tokens, log } = this.options;
    if (tokens === undefined) return;
    this.unwatch = followFile(tokens.file, {
      read: readTokenFile,
      isHeld: (read) => isDeepStrictEqual(read, this.tokens),
      onContent: (read) => {
        this.tokens = read;
        log.event('tokens-changed', { message: 'the token file was read again', outcome: 'success' });
      },
      onError: (error) =>
        log.event('tokens-changed', {
          message: 'the changed token file is not used; the tokens read before stay good',
          level: 'error',
          outcome: 'failure',
          error: error instanceof Error ? error.message : String(error),
        }),
    });
  }
}
