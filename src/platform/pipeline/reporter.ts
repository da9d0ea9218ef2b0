/** What an operator gets to see of each answer: log lines, counters, the notes behind the views. */
import type { CommandName } from '../../protocol/commands';
import type { Decoded } from '../../protocol/decode';
import { VERSION_4_0 } from '../../protocol/header';
import { versionText } from '../../protocol/judge';
import { resultLabel, type ResultName } from '../../protocol/results';
import type { WmmpCommandName } from '../../protocol/wmmp/commands';
import type { WmmpMessage } from '../../protocol/wmmp/decode';
import type { Connection } from '../listener/connection';
import { DATABASE_AWAY, FAILED_ATTEMPTS, LATER_TURN } from './context';
import { SETTLED } from '../flows/credentials';
import { dialectOf } from '../flows/dialect';
import type { Answer, Session, TerminalRecord, TerminalView } from '../model';
import type { Log, LogAction, LogFacts } from '../ops/log';
import type { Metrics } from '../ops/metrics';
import type { RollUp } from '../ops/rollUp';
import type { Failures } from '../store/failures';

export interface ReporterOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly failures: Failures;
  readonly junk: RollUp;
  /** Searched in place of a terminal that is not there: who watches the gateway's pace learns nothing. */
  readonly decoy: TerminalRecord;
  /** The listener's clock: how long something took. */
  readonly now: () => number;
  /** What time it is (../clock.ts). */
  readonly clock: () => number;
}

/** Requests that have an action of their own; the others are only worth a line when they are refused. */
const ACTIONS: Readonly<Partial<Record<string, LogAction>>> = {
  LOGOUT: 'terminal-logout',
  SESSION_KEY: 'session-key',
  CREDENTIAL_CHANGE: 'credential-change',
  CREDENTIAL_CONFIRM: 'credential-confirm',
  AUTH_CHALLENGE: 'mutual-challenge',
  AUTH_PROOF: 'mutual-proof',
  CONFIG_TRAP: 'config-trap',
} satisfies Partial<Record<CommandName | WmmpCommandName, LogAction>>;

/** What m2m_credential_changes_total counts, by command and result. */
const CHANGE_STEPS: Readonly<Partial<Record<string, Readonly<Partial<Record<ResultName, string>>>>>> = {
  CREDENTIAL_CHANGE: { OK: 'ciphertext', WAIT_FOR_SMS: 'sms', CHANGE_REFUSED: 'refused' },
  CREDENTIAL_CONFIRM: { OK: 'confirmed', CHANGE_REFUSED: 'refused', BASE_KEY_MISMATCH: 'refused' },
};

/** A whole fleet may be told to come back: a line each would cost more than their logins. */
const TOLD_TO_MANY: Readonly<Partial<Record<string, (count: number) => string>>> = {
  [LATER_TURN]: (count) => `more logins than can be worked on: ${count} were given a later turn`,
  [DATABASE_AWAY]: (count) => `the database is away: ${count} logins were told to come back`,
};

/** A challenge that nobody could meet: anyone may send these by the thousand. */
function isProbe(command: string, { detail }: Answer): boolean {
  return command === 'AUTH_CHALLENGE' && detail !== undefined;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const SUCCESSES: ReadonlySet<ResultName> = new Set<ResultName>(['OK', 'WAIT_FOR_SMS']);

export class Reporter {
  constructor(private readonly options: ReporterOptions) {}

  login(
    message: Decoded,
    connection: Connection,
    arrivedAt: number,
    answer: Answer,
    view: TerminalView | undefined,
  ): void {
    const { metrics, now } = this.options;
    const result = resultLabel(answer.result);
    const version = versionText(message.header.version);
    metrics.logins.inc({ result, version });
    metrics.frames.inc({ command: message.command, result });
    metrics.loginDuration.observe((now() - arrivedAt) / 1000);
    const serial = message.header.serialText ?? '';
    this.failure(message, connection, answer, view);
    if (answer.result === 'OK' && answer.detail === SETTLED) {
      metrics.credentialChanges.inc({ step: 'settled-by-login' });
    }
    const facts = this.facts(message, connection, arrivedAt, answer);
    // Not one object after the other, spread: this line is written for every login.
    facts.message =
      answer.result === 'OK' ? `${serial} logged in` : `${serial} refused: ${answer.detail ?? result}`;
    facts.imei = message.fields.imei ?? view?.record.imei;
    facts.imsi = message.fields.imsi ?? view?.record.imsi;
    facts.firmware = message.fields.firmware;
    if (answer.result === 'OK') return this.tellLogin(message, facts);
    const { of, all } = together(answer, facts);
    this.options.junk.note(of, (count) => this.tellLogin(message, count === 1 ? facts : all(count)));
  }

  private tellLogin({ command }: Decoded, facts: LogFacts): void {
    const { log } = this.options;
    if (command === 'AUTH_PROOF') log.event('mutual-proof', facts);
    log.event('terminal-login', facts);
  }

  request(message: Decoded, connection: Connection, arrivedAt: number, answer: Answer): void {
    const result = resultLabel(answer.result);
    this.options.metrics.frames.inc({ command: message.command, result });
    this.countChange(message.command, answer);
    const action = ACTIONS[message.command];
    // Heartbeats above all: nobody reads that they are well.
    if (action === undefined && answer.result === 'OK' && answer.detail === undefined) return;
    const facts = {
      ...this.facts(message, connection, arrivedAt, answer),
      message: `${message.command} ${result}${answer.detail === undefined ? '' : `: ${answer.detail}`}`,
    };
    if (action !== undefined && answer.result !== 'NOT_LOGGED_IN' && !isProbe(message.command, answer))
      return this.options.log.event(action, facts);
    this.options.junk.note(`${connection.address}|${message.command}|${answer.result}`, (count) =>
      this.options.log.event(action ?? 'frame-refused', { ...facts, level: 'warn', count }),
    );
  }

  /** A CREDENTIAL_NOTICE that was sent, or its answer. */
  notice(session: Session, connection: Connection, what: string): void {
    this.options.metrics.credentialChanges.inc({ step: 'notice' });
    this.options.log.event('credential-notice', {
      message: `${session.terminal.serial}: ${what}`,
      outcome: 'success',
      detail: what,
      serial: session.terminal.serial,
      sessionId: session.id,
      ip: connection.address,
      port: connection.port,
    });
  }

  fault(command: string | undefined, result: ResultName, text: string, connection: Connection): void {
    const reason = resultLabel(result);
    this.options.metrics.frames.inc({ command: command ?? 'unknown', result: reason });
    const serial = connection.session?.terminal.serial;
    this.options.junk.note(`${connection.address}|${result}`, (count) =>
      this.options.log.event('frame-refused', {
        message: `frame refused at ${text}`,
        level: 'warn',
        outcome: 'failure',
        reason,
        detail: text,
        command,
        serial,
        ip: connection.address,
        port: connection.port,
        count,
      }),
    );
  }

  dropped(message: Decoded): void {
    this.options.metrics.frames.inc({ command: message.command, result: 'dropped' });
  }

  connectionRefused(reason: string, address: string, port: number): void {
    this.options.metrics.refusedConnections.inc({ reason });
    this.options.junk.note(`${address}|${reason}`, (count) =>
      this.options.log.event('connection-refused', {
        message: `connection closed: ${reason}`,
        level: 'warn',
        outcome: 'failure',
        detail: reason,
        ip: address,
        port,
        count,
      }),
    );
  }

  sessionEnded(session: Session, connection: Connection, reason: string): void {
    this.options.metrics.sessionEnded(reason);
    this.options.log.event('session-ended', {
      message: `session of ${session.terminal.serial} ended: ${reason}`,
      detail: reason,
      serial: session.terminal.serial,
      sessionId: session.id,
      ip: connection.address,
      port: connection.port,
    });
  }

  /** @param what failed: a command, as a rule */
  internalError(error: unknown, what: string, serial: string | undefined, connection: Connection): void {
    this.options.junk.note(`${connection.address}|internal-error|${what}`, (count) =>
      this.options.log.event('internal-error', {
        message: `${what} failed inside the gateway`,
        level: 'error',
        outcome: 'failure',
        error: errorText(error),
        serial,
        ip: connection.address,
        port: connection.port,
        count,
      }),
    );
  }

  /** A terminal that asks to be given a serial: operators see who, and provision it. */
  registration(message: WmmpMessage, connection: Connection): void {
    const { imei, imsi } = message.fixed;
    this.options.metrics.frames.inc({ command: message.command, result: 'auth-failed' });
    this.options.junk.note(`${connection.address}|${message.command}`, (count) =>
      this.options.log.event('frame-refused', {
        message: 'a terminal asks to be registered: terminals are provisioned by SQL',
        level: 'warn',
        outcome: 'failure',
        detail: 'register',
        imei: digitsOf(imei),
        imsi: digitsOf(imsi),
        command: message.command,
        version: versionText(message.header.version),
        ip: connection.address,
        port: connection.port,
        count,
      }),
    );
  }

  /** A step of a change that WMMP 3.0 has no command of the terminal's for. */
  credentials(
    action: LogAction,
    step: string,
    session: Session,
    connection: Connection,
    detail: string,
    done = true,
  ): void {
    this.options.metrics.credentialChanges.inc({ step });
    this.options.log.event(action, {
      message: `${session.terminal.serial}: ${detail}`,
      level: done ? 'info' : 'warn',
      outcome: done ? 'success' : 'failure',
      detail,
      serial: session.terminal.serial,
      sessionId: session.id,
      version: versionText(session.wmmp?.version ?? VERSION_4_0),
      ip: connection.address,
      port: connection.port,
    });
  }

  /** For m2m.explain and the views. */
  private failure(
    message: Decoded,
    connection: Connection,
    answer: Answer,
    view: TerminalView | undefined,
  ): void {
    const { failures, decoy, clock } = this.options;
    const known = view !== undefined;
    const { detail, result } = answer;
    if (result === 'OK' || !(known || detail === 'unknown-serial')) return;
    const record = view?.record ?? decoy;
    const doubtful = detail === 'wrong-digest' || !known;
    failures.note({
      serial: message.header.serialText ?? '',
      known,
      at: clock(),
      result: resultLabel(result),
      reason: detail ?? resultLabel(result),
      address: connection.address,
      claims: claims(message, record, answer),
      suspect: doubtful ? { message, record } : undefined,
    });
  }

  private countChange(command: string, { result }: Answer): void {
    const step = CHANGE_STEPS[command]?.[result];
    if (step !== undefined) this.options.metrics.credentialChanges.inc({ step });
  }

  private facts(
    message: Decoded,
    connection: Connection,
    arrivedAt: number,
    answer: Answer,
  ): Mutable<LogFacts> {
    const done = SUCCESSES.has(answer.result);
    return {
      message: '',
      outcome: done ? 'success' : 'failure',
      level: answer.result === 'INTERNAL' ? 'error' : done ? 'info' : 'warn',
      reason: answer.result === 'OK' ? undefined : resultLabel(answer.result),
      detail: answer.detail,
      duration: (this.options.now() - arrivedAt) * 1e6,
      ip: connection.address,
      port: connection.port,
      serial: message.header.serialText,
      sessionId: connection.session?.id,
      command: message.command,
      version: versionText(message.header.version),
      sequence: message.header.sequence,
      imei: undefined,
      imsi: undefined,
      firmware: undefined,
    };
  }
}

/** What is wrong, and where in our code, as far as an error tells. */
function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = /\n\s+(at .*)/.exec(error.stack ?? '')?.[1];
  return [`${error.name}: ${error.message}`, place].filter(Boolean).join(' ');
}

/** Under what repeats of a refusal share a line, and what is said of them all. */
function together(
  { detail = '' }: Answer,
  facts: LogFacts,
): { readonly of: string; readonly all: (count: number) => LogFacts } {
  const { outcome, reason, ip, serial } = facts;
  const many = TOLD_TO_MANY[detail];
  const rest = { level: 'warn', outcome, reason, detail } as const;
  if (many !== undefined) return { of: detail, all: (count) => ({ ...rest, count, message: many(count) }) };
  if (detail === FAILED_ATTEMPTS)
    return {
      of: `${ip}|${detail}`,
      all: (count) => ({
        ...rest,
        ip,
        count,
        message: `${count} logins from ${ip} came too soon after failed ones`,
      }),
    };
  return { of: `${ip}|${serial}|${reason}|${detail}`, all: (count) => ({ ...facts, count }) };
}

/** What of the frame did not fit, as far as its reason is about that. */
function claims(
  message: Decoded,
  record: TerminalRecord,
  { result, detail }: Answer,
): Record<string, string | undefined> {
  if (detail === 'below-least-login')
    return { login: dialectOf(message.header).kind(message), least_login: record.leastLogin };
  if (result !== 'BINDING_MISMATCH') return {};
  const { imei, imsi } = message.fields;
  return {
    imei: imei === record.imei ? undefined : imei,
    imsi: imsi === record.imsi ? undefined : imsi,
  };
}

/** What an undigested frame claims, where it is digits. */
function digitsOf(field: Buffer | undefined): string | undefined {
  return /^[0-9]{1,16}/.exec(field?.toString('latin1') ?? '')?.[0];
}
