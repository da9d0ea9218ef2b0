/** Counters and gauges for Prometheus; names are a contract with dashboards (docs/operations.md, "HTTP"). */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { COMMAND_NAMES } from '../../protocol/commands';
import { VERSION_4_0 } from '../../protocol/header';
import { versionText } from '../../protocol/judge';
import { RESULT_NAMES, resultLabel } from '../../protocol/results';
import { REFUSALS } from '../listener/listener';

/** What every process of a gateway can tell. */
export interface ProcessSources {
  readonly databaseUp: () => boolean;
  readonly waitingForDatabase: () => number;
  readonly droppedLogLines: () => number;
}

/** What those that serve terminals can tell. */
export interface TerminalSources {
  readonly connections: () => number;
  readonly sessions: () => number;
  readonly loginsUnderWay: () => number;
  /** The certificate of the TLS port; undefined: there is none. */
  readonly certificate: () => { readonly listen: string; readonly notAfter: number } | undefined;
}

/** What is told once for all of them. */
export interface OfficeSources {
  readonly workers: () => number;
  /** The newest key of each kind. */
  readonly keys: () => readonly { readonly kind: string; readonly created: string }[];
  /** Texts that wait to be sent, and since when the oldest does. Throws where that cannot be told now. */
  readonly outbox: () => Promise<{ readonly waiting: number; readonly oldestSeconds: number }>;
}

export class Metrics {
  readonly registry = new Registry();
  readonly logins = new Counter({
    name: 'm2m_logins_total',
    help: 'Logins answered, by result and protocol version',
    labelNames: ['result', 'version'] as const,
    registers: [this.registry],
  });
  readonly loginDuration = new Histogram({
    name: 'm2m_login_duration_seconds',
    help: 'From the last byte of a LOGIN to the decision on it, whatever the result, its commit included',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers: [this.registry],
  });
  readonly frames = new Counter({
    name: 'm2m_frames_total',
    help: 'Frames from terminals, by command and result of the answer; dropped: not answered',
    labelNames: ['command', 'result'] as const,
    registers: [this.registry],
  });
  readonly refusedConnections = new Counter({
    name: 'm2m_refused_connections_total',
    help: 'Connections closed by the gateway without or before a session, by reason',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });
  readonly credentialChanges = new Counter({
    name: 'm2m_credential_changes_total',
    help: 'Steps of changes of passwords and base keys: notice, ciphertext, sms, refused, confirmed, settled-by-login',
    labelNames: ['step'] as const,
    registers: [this.registry],
  });
  readonly texts = new Counter({
    name: 'm2m_sms_total',
    help: 'Texts by what became of handing them over; accepted: a receipt may follow',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly introspections = new Counter({
    name: 'm2m_introspections_total',
    help: 'Questions for a session over HTTP: active, inactive, unauthorized, bad-request, too-many, unavailable',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly databaseErrors = new Counter({
    name: 'm2m_database_errors_total',
    help: 'Statements that failed',
    registers: [this.registry],
  });
  readonly databaseLost = new Counter({
    name: 'm2m_database_lost_total',
    help: 'Times that the database could no longer be used',
    registers: [this.registry],
  });
  private readonly sessionsEnded = new Counter({
    name: 'm2m_sessions_ended_total',
    help: 'Sessions that the gateway ended or saw ended on a connection of its own, by reason',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });

  readonly workersLost = new Counter({
    name: 'm2m_workers_lost_total',
    help: 'Worker processes that ended by themselves and were replaced',
    registers: [this.registry],
  });

  constructor(sources: ProcessSources) {
    collectDefaultMetrics({ register: this.registry });
    this.beginAtZero();
    const up = () => Number(sources.databaseUp());
    this.gauge('m2m_database_up', 'Whether the database can be used now', up, 'min');
    this.gauge(
      'm2m_database_waiting',
      'Lookups and commits that wait for a statement',
      sources.waitingForDatabase,
    );
    this.gauge(
      'm2m_log_lines_dropped',
      'Log lines lost because the sink did not take them',
      sources.droppedLogLines,
    );
  }

  watchTerminals(sources: TerminalSources): void {
    this.gauge('m2m_connections', 'Connections open now', sources.connections);
    this.gauge('m2m_sessions', 'Sessions on connections of this gateway now', sources.sessions);
    this.gauge('m2m_logins_under_way', 'Logins let in and not answered yet', sources.loginsUnderWay);
    this.certificateEnd(sources);
  }

  watchOffice(sources: OfficeSources): void {
    this.gauge('m2m_workers', 'Processes that serve terminals now', sources.workers);
    this.keyAges(sources);
    this.outbox(sources);
  }

  /** A series that begins with its first event hides that event from increase() and rate(). */
  private beginAtZero(): void {
    const version = versionText(VERSION_4_0);
    for (const name of RESULT_NAMES) this.logins.inc({ result: resultLabel(name), version }, 0);
    for (const command of COMMAND_NAMES) this.frames.inc({ command, result: resultLabel('REPLAY') }, 0);
    for (const reason of REFUSALS) this.refusedConnections.inc({ reason }, 0);
  }

  private keyAges({ keys }: OfficeSources): void {
    new Gauge({
      name: 'm2m_key_created_timestamp_seconds',
      help: 'When the newest key of each kind was made',
      labelNames: ['kind'] as const,
      registers: [this.registry],
      collect() {
        for (const { kind, created } of keys()) this.set({ kind }, Date.parse(created) / 1000);
      },
    });
  }

  private certificateEnd({ certificate }: TerminalSources): void {
    new Gauge({
      name: 'm2m_tls_certificate_not_after_timestamp_seconds',
      help: 'When the certificate of the TLS port expires',
      labelNames: ['listen'] as const,
      aggregator: 'min',
      registers: [this.registry],
      collect() {
        const shown = certificate();
        if (shown !== undefined) this.set({ listen: shown.listen }, shown.notAfter / 1000);
      },
    });
  }

  /** While the database is away both stay as they were. */
  private outbox({ outbox }: OfficeSources): void {
    const look = shared(() => outbox().catch(() => undefined));
    this.lateGauge(
      'm2m_sms_outbox_waiting',
      'Texts that wait to be sent, on any gateway of the database',
      () => look().then((found) => found?.waiting),
    );
    this.lateGauge(
      'm2m_sms_outbox_oldest_seconds',
      'For how long the oldest text has waited to be sent; 0: none waits',
      () => look().then((found) => found?.oldestSeconds),
    );
  }

  private lateGauge(name: string, help: string, value: () => Promise<number | undefined>): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      async collect() {
        const found = await value();
        if (found !== undefined) this.set(found);
      },
    });
  }

  sessionEnded(reason: string): void {
    this.sessionsEnded.inc({ reason });
  }

  /** @param aggregator how the values of several processes become one */
  private gauge(name: string, help: string, value: () => number, aggregator: 'sum' | 'min' = 'sum'): void {
    new Gauge({
      name,
      help,
      aggregator,
      registers: [this.registry],
      collect() {
        this.set(value());
      },
    });
  }
}

/** Calls that come while one is under way share its answer. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  return () => {
    asked ??= ask().finally(() => {
      asked = undefined;
    });
    return asked;
  };
}
