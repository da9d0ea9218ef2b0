/**
 * What serves terminals, once in every process that does:
 *
 *     listener -> pipeline -> { login, requests } -> store
 *                                  effects <- change feed
 */
import { randomBytes } from 'node:crypto';
import { freshRandom } from '../crypto/random';
import { makeSessionId } from '../crypto/sessionId';
import { headerJudge } from '../protocol/judge';
import { steady } from './clock';
import { Admission } from './flows/admission';
import { decoyRecord } from './flows/decoy';
import { roomFor } from './listener/capacity';
import type { CertificateKeeper } from './listener/certificateKeeper';
import { Listener } from './listener/listener';
import { Newcomers, type Crowds } from './listener/newcomers';
import { Registry } from './listener/registry';
import type { Surroundings, TerminalRecord } from './model';
import { RollUp } from './ops/rollUp';
import type { PipelineContext } from './pipeline/context';
import { drain } from './pipeline/drain';
import { Effects } from './pipeline/effects';
import { Pipeline } from './pipeline/pipeline';
import { Reporter } from './pipeline/reporter';
import type { Audience, Site } from './site';

/** What other processes of this gateway have: all of them share the limits. */
export interface Elsewhere {
  readonly connections: () => number;
  /** Connections of a source that have not logged in yet. */
  readonly newcomers: (source: string) => number;
}

export const NOWHERE_ELSE: Elsewhere = { connections: () => 0, newcomers: () => 0 };

export interface GateOptions {
  /** What the TLS port begins with; undefined: there is none. */
  readonly certificate: CertificateKeeper | undefined;
  readonly elsewhere: Elsewhere;
  /** A text for somebody has been committed to the outbox. */
  readonly texted: () => void;
}

export interface Open {
  /** host:port with the port really in use. */
  readonly listen: string;
  /** Undefined: TLS is off. */
  readonly tlsListen: string | undefined;
}

const IDLE_INTERVALS = 2.5;
/** Of the database's time: a login that has taken so much of it tells that the database does not keep up. */
const OLDEST_LOGIN = 1 / 4;
/** Milliseconds. */
const SWEEP_INTERVAL = 1_000;

export class Gate {
  /** Connections that this process can serve at once. */
  readonly room: number;
  private readonly registry = new Registry();
  private readonly junk = new RollUp();
  private readonly admission: Admission;
  private readonly newcomers: Newcomers;
  private readonly effects: Effects;
  private readonly listener: Listener;
  private sweeper: NodeJS.Timeout | undefined;
  private unwatch: () => void = () => undefined;
  private tlsListen: string | undefined;

  constructor(
    private readonly site: Site,
    private readonly options: GateOptions,
    audience: Audience,
  ) {
    const { settings, store, metrics, log, clock } = site;
    const { registry, junk } = this;
    const now = steady;
    this.room = roomFor(settings.maxConnections);
    this.admission = new Admission(settings.databaseTimeout * OLDEST_LOGIN * 1000, Math.random);
    this.newcomers = new Newcomers(settings.maxNewcomers, options.elsewhere.newcomers);
    const decoy = decoyRecord(randomBytes);
    const { failures } = store;
    const reporter = new Reporter({ log, metrics, failures, junk, decoy, now, clock: clock.now });
    this.effects = new Effects({
      store,
      cache: store.cache,
      registry,
      reporter,
      configure: (connection) => pipeline.configure(connection),
      timeout: settings.databaseTimeout * 1000,
      now,
      clock: clock.now,
      onError: store.onError,
    });
    const pipeline = new Pipeline(this.context(decoy), reporter, settings.refusalDelay, (connection) =>
      this.effects.closed(connection),
    );
    this.listener = new Listener({
      judge: headerJudge(settings.maxFrame),
      handler: pipeline,
      now,
      loginDeadline: settings.loginDeadline * 1000,
      idleLimit: settings.heartbeatInterval * 1000 * IDLE_INTERVALS,
      hasRoom: (own) => own < this.room && own + options.elsewhere.connections() < settings.maxConnections,
      newcomers: this.newcomers,
      proxies: settings.proxyProtocol === 'v2' ? settings.proxyTrusted : undefined,
      onRefused: (reason, address, port) => reporter.connectionRefused(reason, address, port),
    });
    audience.onChanges.push((changes) => this.effects.onChanges(changes));
    audience.onBack.push(() => this.effects.checkAll());
    this.beWatched();
  }

  get connections(): number {
    return this.listener.connections.size;
  }

  get crowds(): Crowds {
    return this.newcomers.crowds();
  }

  async open(): Promise<Open> {
    const { settings } = this.site;
    const listen = await this.listener.listen(settings.listen);
    this.tlsListen = await this.listenTls();
    this.sweeper = setInterval(() => this.effects.sweep(), SWEEP_INTERVAL);
    return { listen, tlsListen: this.tlsListen };
  }

  /** Accepts nobody any more and sends those who are in away, over M2M_DRAIN. */
  async drain(): Promise<void> {
    this.listener.stopAccepting();
    const { connections } = this.listener;
    await drain({ connections, over: this.site.settings.drain, now: steady, clock: this.site.clock.now });
  }

  close(): void {
    clearInterval(this.sweeper);
    this.unwatch();
    this.listener.stopAccepting();
    this.listener.destroyAll();
    this.junk.stop();
  }

  private async listenTls(): Promise<string | undefined> {
    const { settings, log } = this.site;
    const { certificate } = this.options;
    if (settings.tlsListen === undefined || certificate === undefined) return undefined;
    const listen = await this.listener.listenTls(settings.tlsListen, certificate.current);
    this.unwatch = certificate.follow(log, (renewed) => this.listener.useCertificate(renewed));
    return listen;
  }

  private context(decoy: TerminalRecord): PipelineContext {
    const { store } = this.site;
    return {
      store,
      cache: store.cache,
      registry: this.registry,
      strangers: store.strangers,
      throttle: store.throttles.throttle,
      admission: this.admission,
      decoy,
      decoyKey: randomBytes(32),
      now: steady,
      around: () => this.surroundings(),
      sessionBegan: (connection, since) => this.effects.began(connection, since),
      texted: this.options.texted,
      retryAfter: () => 1_000 + Math.floor(Math.random() * 4_000),
    };
  }

  private surroundings(): Surroundings {
    const { settings, keys, clock } = this.site;
    const { timestampWindow, sessionTtl, heartbeatInterval, smsPlain } = settings;
    return {
      now: clock.now(),
      timestampWindow,
      sessionTtl,
      heartbeatInterval,
      plainTexts: smsPlain === 'on',
      packetKeys: keys.packetKeys,
      random: freshRandom,
      sessionId: (terminalId) => makeSessionId(keys.ring(), terminalId, freshRandom(4)),
    };
  }

  private beWatched(): void {
    this.site.metrics.watchTerminals({
      connections: () => this.connections,
      sessions: () => this.registry.size,
      loginsUnderWay: () => this.admission.size,
      certificate: () => {
        const notAfter = this.options.certificate?.current.notAfter;
        return this.tlsListen && notAfter ? { listen: this.tlsListen, notAfter } : undefined;
      },
    });
  }
}
