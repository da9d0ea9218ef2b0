/**
 * The way of a frame of WMMP 3.0 (docs/wmmp.md): the same rules of a login, the same commits, other bodies. What this
 * dialect cannot say is not said: a frame that is wrong closes the connection, and while the database is away nothing
 * is answered, so that the terminal asks again.
 */
import { hash } from 'node:crypto';
import { fault, faultText, isFault, type Fault } from '../../protocol/faults';
import type { Header, ReadHeader } from '../../protocol/header';
import { hexTag } from '../../protocol/tlv';
import { ABOUT_TO_SWAP, wmmpCommandName } from '../../protocol/wmmp/commands';
import { decodeWmmp, type WmmpMessage } from '../../protocol/wmmp/decode';
import { unrememberedEntry } from '../flows/replay';
import { encodeAcknowledgement, encodeLoginAnswer, encodeSecurityConfig } from '../flows/wmmp/answer';
import {
  decideSecurityConfig,
  decideSettling,
  decideWmmpLogout,
  flawOf,
  NEEDS_SESSION_KEY,
} from '../flows/wmmp/requests';
import type { Connection, Outcome } from '../listener/connection';
import type { Answer, Session, WmmpSession } from '../model';
import type { PipelineContext } from './context';
import { login } from './login';
import type { Reporter } from './reporter';
import { settle } from './requests';

/** Milliseconds for which a terminal that got no answer is waited for: stacks repeat themselves after 15 s. */
const REPEATS_WITHIN = 20_000;

/** The terminal's session, where its dialect is this one. */
interface Standing {
  readonly session: Session;
  readonly wmmp: WmmpSession;
}

export class WmmpPipeline {
  /** @param refusalDelay milliseconds: a refusal leaves at a whole multiple of them after its frame */
  constructor(
    private readonly context: PipelineContext,
    private readonly reporter: Reporter,
    private readonly refusalDelay: number,
  ) {}

  handle(
    header: ReadHeader,
    bytes: Buffer,
    connection: Connection,
    arrivedAt: number,
  ): Outcome | Promise<Outcome> {
    const message = decodeWmmp(header, bytes);
    if (isFault(message)) return this.refuse(header, message, connection);
    const { isRepeat, outcome } = repeated(connection, message, bytes);
    if (outcome !== undefined) return outcome;
    if (connection.hasLoggedIn && header.serialText !== connection.serial) {
      return this.refuse(header, fault('serial-changed', 12), connection);
    }
    return this.dispatch({ ...message, isRepeat }, bytes, connection, arrivedAt);
  }

  /** A frame that is wrong gets no answer: this dialect has none for it. */
  refuse(header: Header, found: Fault, connection: Connection): Outcome {
    this.reporter.fault(wmmpCommandName(header.command), 'MALFORMED', faultText(found), connection);
    return { close: true };
  }

  /** Sends the terminal what the platform wishes to see changed, as soon as its connection is free. */
  configure(connection: Connection): void {
    connection.later(async () => {
      try {
        return await this.securityConfig(connection);
      } catch (error) {
        this.reporter.internalError(
          error,
          'SECURITY_CONFIG',
          connection.session?.terminal.serial,
          connection,
        );
        return undefined;
      }
    });
  }

  private dispatch(
    message: WmmpMessage,
    bytes: Buffer,
    connection: Connection,
    arrivedAt: number,
  ): Outcome | Promise<Outcome> {
    if (message.command === 'REGISTER') {
      this.reporter.registration(message, connection);
      return { bytes: encodeAcknowledgement(message) };
    }
    if (message.command === 'LOGIN') {
      const outcome = this.login(message, bytes, connection, arrivedAt);
      return this.guarded(message, bytes, connection, arrivedAt, outcome);
    }
    const { session } = connection;
    if (session?.wmmp === undefined) {
      return this.close(message, connection, arrivedAt, { result: 'NOT_LOGGED_IN', detail: 'no-session' });
    }
    const flaw = flawOf(message, session, session.wmmp);
    if (flaw !== undefined) {
      return this.close(message, connection, arrivedAt, { result: 'AUTH_FAILED', detail: flaw });
    }
    const standing = { session, wmmp: session.wmmp };
    if (message.command === 'LOGOUT') {
      const outcome = this.logout(message, bytes, connection, arrivedAt, standing);
      return this.guarded(message, bytes, connection, arrivedAt, outcome);
    }
    if (session.wmmp.unsettled === 0) return this.serve(message, connection, arrivedAt, standing);
    const outcome = this.settle(standing, connection).then(() =>
      this.serve(message, connection, arrivedAt, standing),
    );
    return this.guarded(message, bytes, connection, arrivedAt, outcome);
  }

  private async login(
    message: WmmpMessage,
    bytes: Buffer,
    connection: Connection,
    arrivedAt: number,
  ): Promise<Outcome> {
    const { answer, view } = await login(this.context, message, connection);
    this.reporter.login(message, connection, arrivedAt, answer, view);
    if (isSilent(answer)) return silence(connection, bytes, answer, arrivedAt);
    if (answer.result !== 'OK') {
      return { bytes: encodeLoginAnswer(message.header, answer), every: this.refusalDelay };
    }
    const outcome = { bytes: encodeLoginAnswer(message.header, answer) };
    remember(connection, bytes, outcome);
    if (owes(connection)) this.configure(connection);
    return outcome;
  }

  private async logout(
    message: WmmpMessage,
    bytes: Buffer,
    connection: Connection,
    arrivedAt: number,
    { session, wmmp }: Standing,
  ): Promise<Outcome> {
    const answer = await settle(this.context, session, this.entry(), decideWmmpLogout);
    this.reporter.request(message, connection, arrivedAt, answer);
    wmmp.leaving = isSilent(answer);
    if (wmmp.leaving) return silence(connection, bytes, answer, arrivedAt);
    if (wmmp.unsettled !== 0 && answer.result === 'OK') this.settled({ session, wmmp }, connection);
    this.context.registry.release(session.terminal.id, connection);
    connection.session = undefined;
    const outcome = { bytes: encodeAcknowledgement(message) };
    if (message.fixed.reason !== ABOUT_TO_SWAP) return { ...outcome, close: true };
    remember(connection, bytes, outcome);
    return outcome;
  }

  /** What the login left open; where that fails the old values stay good, and the next frame tries again. */
  private async settle({ session, wmmp }: Standing, connection: Connection): Promise<void> {
    const answer = await settle(this.context, session, this.entry(), decideSettling);
    if (answer.result === 'OK') this.settled({ session, wmmp }, connection);
  }

  private settled({ session, wmmp }: Standing, connection: Connection): void {
    wmmp.unsettled = 0;
    this.reporter.credentials(
      'credential-confirm',
      'confirmed',
      session,
      connection,
      'settled-by-next-frame',
    );
  }

  private serve(
    message: WmmpMessage,
    connection: Connection,
    arrivedAt: number,
    standing: Standing,
  ): Outcome {
    if (message.isResponse) {
      this.heard(message, connection, standing);
      return {};
    }
    this.reporter.request(message, connection, arrivedAt, servedAs(message));
    if (owes(connection)) this.configure(connection);
    return { bytes: encodeAcknowledgement(message) };
  }

  /** The answer to a SECURITY_CONFIG. One that answers nothing is dropped. */
  private heard(message: WmmpMessage, connection: Connection, { session, wmmp }: Standing): void {
    if (wmmp.asked !== message.header.sequence) return this.reporter.dropped(message);
    wmmp.asked = undefined;
    const { result } = message.fixed;
    const detail = result === 0 ? 'taken-by-the-terminal' : `refused-by-the-terminal-${result}`;
    this.reporter.credentials('credential-notice', 'notice', session, connection, detail, result === 0);
  }

  private async securityConfig(connection: Connection): Promise<Buffer | undefined> {
    const { session } = connection;
    const wmmp = session?.wmmp;
    if (session === undefined || wmmp === undefined || !owes(connection)) return undefined;
    if (wmmp.sessionKey === undefined) {
      wmmp.wish = 'waits';
      this.reporter.credentials('credential-notice', 'notice', session, connection, NEEDS_SESSION_KEY, false);
      return undefined;
    }
    const answer = await settle(this.context, session, this.entry(), decideSecurityConfig);
    const change = session.terminal.changes.pending;
    if (isSilent(answer)) return undefined;
    wmmp.wish = 'sent';
    if (answer.result !== 'OK' || change === undefined || connection.session !== session) return undefined;
    wmmp.asked = connection.nextSequence();
    const detail = 'by-security-config';
    this.reporter.credentials('credential-change', 'ciphertext', session, connection, detail);
    return encodeSecurityConfig(session, wmmp, wmmp.sessionKey, wmmp.asked, change);
  }

  /** An error inside is told to the log; the terminal asks again. */
  private guarded(
    message: WmmpMessage,
    bytes: Buffer,
    connection: Connection,
    arrivedAt: number,
    outcome: Promise<Outcome>,
  ): Promise<Outcome> {
    return outcome.catch((error: unknown) => {
      this.reporter.internalError(error, message.command, message.header.serialText, connection);
      const answer: Answer = { result: 'INTERNAL', detail: 'internal-error' };
      this.reporter.request(message, connection, arrivedAt, answer);
      return silence(connection, bytes, answer, arrivedAt);
    });
  }

  private close(message: WmmpMessage, connection: Connection, arrivedAt: number, answer: Answer): Outcome {
    this.reporter.request(message, connection, arrivedAt, answer);
    return { close: true };
  }

  private entry(): string {
    return unrememberedEntry(this.context.around().random);
  }
}

/** Nothing was decided: a refusal would make the terminal give up, or go back in the middle of a change. */
function isSilent({ result }: Answer): boolean {
  return result === 'BUSY' || result === 'THROTTLED' || result === 'INTERNAL';
}

function servedAs({ command, tags }: WmmpMessage): Answer {
  if (command === 'HEARTBEAT') return { result: 'OK' };
  if (command !== 'CONFIG_TRAP') return { result: 'OK', detail: 'not-served' };
  return { result: 'OK', detail: `tags: ${tagList(tags)}` };
}

const TAGS_TOLD = 32;

function tagList(tags: readonly number[]): string {
  const told = tags.slice(0, TAGS_TOLD).map(hexTag).join(' ');
  return tags.length > TAGS_TOLD ? `${told} and ${tags.length - TAGS_TOLD} more` : told || 'none';
}

/** New values have the form of WMMP 3.0 only for who may use it. */
function owes({ session }: Connection): boolean {
  if (session?.wmmp === undefined) return false;
  const { wmmp, terminal } = session;
  const isFree = wmmp.wish === 'open' && wmmp.unsettled === 0;
  return isFree && terminal.changes.wished !== 0 && terminal.leastLogin === 'wmmp3';
}

/** No answer; the same frame is waited for, unless it was not even looked at. */
function silence(connection: Connection, frame: Buffer, { result }: Answer, arrivedAt: number): Outcome {
  remember(connection, frame, undefined);
  return result === 'THROTTLED' ? {} : { patience: arrivedAt + REPEATS_WITHIN };
}

/** What is kept of a frame that may come again: its hash is enough to know it by. */
function remember(connection: Connection, frame: Buffer, outcome: Outcome | undefined): void {
  connection.latest = { frame: hash('sha256', frame), outcome };
}

interface Repeated {
  readonly isRepeat: boolean;
  /** The answer that this very frame got just before. */
  readonly outcome?: Outcome | undefined;
}

/** Any other frame of a session ends that; REGISTER is of none. */
function repeated(connection: Connection, { command }: WmmpMessage, frame: Buffer): Repeated {
  const { latest } = connection;
  if (latest === undefined || command === 'REGISTER') return { isRepeat: false };
  const mayRepeat = command === 'LOGIN' || command === 'LOGOUT';
  if (mayRepeat && latest.frame === hash('sha256', frame)) return { isRepeat: true, outcome: latest.outcome };
  connection.latest = undefined;
  return { isRepeat: false };
}
