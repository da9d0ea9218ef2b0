/**
 * The gateway's log: one JSON object a line with the names of the Elastic Common Schema (docs/operations.md, "Logs").
 * Events go in as typed facts; never a secret, a digest, a key or a raw frame.
 */
import { createLogger, format, transports } from 'winston';
import type { LogSink } from './logSink';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export type LogAction =
  | 'gateway-started'
  | 'gateway-stopped'
  | 'worker-started'
  | 'worker-lost'
  | 'terminal-login'
  | 'terminal-logout'
  | 'session-key'
  | 'session-ended'
  | 'credential-change'
  | 'credential-confirm'
  | 'credential-notice'
  | 'sms-sent'
  | 'sms-link'
  | 'mutual-challenge'
  | 'mutual-proof'
  | 'config-trap'
  | 'connection-refused'
  | 'frame-refused'
  | 'keys-changed'
  | 'clock-off'
  | 'throttle-lifted'
  | 'certificate-changed'
  | 'database-lost'
  | 'database-back'
  | 'database-locked'
  | 'terminal-provisioned'
  | 'terminal-changed'
  | 'session-introspected'
  | 'tokens-changed'
  | 'secret-unreadable'
  | 'log-lines-lost'
  | 'internal-error';

/** Facts of an event. Absent ones are left out of the line. */
export interface LogFacts {
  readonly message: string;
  readonly level?: LogLevel;
  readonly outcome?: 'success' | 'failure' | undefined;
  /** Result code's label: `binding-mismatch`. */
  readonly reason?: string | undefined;
  /** The cause inside, for the operator only. */
  readonly detail?: string | undefined;
  /** Nanoseconds. */
  readonly duration?: number | undefined;
  readonly ip?: string | undefined;
  readonly port?: number | undefined;
  readonly serial?: string | undefined;
  readonly imei?: string | undefined;
  readonly imsi?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly command?: string | undefined;
  readonly version?: string | undefined;
  readonly sequence?: number | undefined;
  readonly count?: number | undefined;
  readonly firmware?: string | undefined;
  readonly listen?: string | undefined;
  readonly opsListen?: string | undefined;
  readonly tlsListen?: string | undefined;
  readonly error?: string | undefined;
}

export interface Log {
  event(action: LogAction, facts: LogFacts): void;
}

export interface LogOptions {
  readonly sink: LogSink;
  readonly level: LogLevel;
  readonly gateway: string;
  readonly identifiers: 'masked' | 'full';
}

/** Of the Elastic Common Schema that the names are taken from. */
const ECS_VERSION = '8.10.0';

/** Where winston's transports look for the text of a line (triple-beam). */
const MESSAGE = Symbol.for('message');

/** Characters of lines that go through winston together; its streams cost twice what it takes to make a line. */
const LOT = 64 * 1024;

/**
 * The lines stand ready in `info.lines`. Elastic's own format for winston sorts and checks the fields of objects that
 * it knows nothing of, which costs several times as much, for every login.
 */
const asTheyAre = format((info) => {
  info[MESSAGE] = info['lines'];
  return info;
});

export function createLog(options: LogOptions): Log {
  const logger = createLogger({
    level: options.level,
    format: asTheyAre(),
    transports: [new transports.Stream({ stream: options.sink, eol: '\n' })],
  });
  const lines = new Lines((lot) => logger.log({ level: options.level, message: '', lines: lot }));
  options.sink.before(() => lines.leave());
  return {
    event: (action, facts) => {
      const level = facts.level ?? 'info';
      if (logger.isLevelEnabled(level)) lines.add(lineOf(options, action, level, facts));
    },
  };
}

/** Lines of one turn of the event loop. */
class Lines {
  private lot = '';

  constructor(private readonly out: (lot: string) => void) {}

  add(line: string): void {
    if (this.lot === '') setImmediate(() => this.leave());
    this.lot = this.lot === '' ? line : `${this.lot}\n${line}`;
    if (this.lot.length > LOT) this.leave();
  }

  leave(): void {
    const { lot } = this;
    if (lot === '') return;
    this.lot = '';
    this.out(lot);
  }
}

/** Put together field by field: for an object of all of them JSON.stringify takes twice as long, for every login. */
function lineOf(options: LogOptions, action: LogAction, level: LogLevel, facts: LogFacts): string {
  const shown = (id: string | undefined) => (options.identifiers === 'full' ? id : id && masked(id));
  return (
    `{"@timestamp":"${timestamp()}"` +
    field('log.level', level) +
    field('message', facts.message) +
    field('ecs.version', ECS_VERSION) +
    field('event.action', action) +
    field('event.outcome', facts.outcome) +
    field('event.reason', facts.reason) +
    field('event.duration', facts.duration) +
    field('m2m.detail', facts.detail) +
    field('source.ip', facts.ip) +
    field('source.port', facts.port) +
    field('device.id', facts.serial) +
    field('m2m.imei', shown(facts.imei)) +
    field('m2m.imsi', shown(facts.imsi)) +
    field('m2m.session_id', facts.sessionId) +
    field('m2m.command', facts.command) +
    field('m2m.version', facts.version) +
    field('m2m.sequence', facts.sequence) +
    field('m2m.count', facts.count) +
    field('m2m.firmware', facts.firmware) +
    field('m2m.gateway', options.gateway) +
    field('process.pid', process.pid) +
    field('m2m.listen', facts.listen) +
    field('m2m.ops_listen', facts.opsListen) +
    field('m2m.tls_listen', facts.tlsListen) +
    field('error.message', facts.error) +
    '}'
  );
}

function field(name: string, value: string | number | undefined): string {
  return value === undefined ? '' : `,"${name}":${JSON.stringify(value)}`;
}

let lastAt = NaN;
let lastTimestamp = '';

/** Many lines are of the same millisecond. */
function timestamp(): string {
  const now = Date.now();
  if (now !== lastAt) lastTimestamp = new Date(now).toISOString();
  lastAt = now;
  return lastTimestamp;
}

/** Keeps the type and maker (IMEI) or the network (IMSI), and the last two digits to tell neighbours apart. */
function masked(identifier: string): string {
  return identifier.length < 9
    ? '*'.repeat(identifier.length)
    : `${identifier.slice(0, 5)}${'*'.repeat(identifier.length - 7)}${identifier.slice(-2)}`;
}
