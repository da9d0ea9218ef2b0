/**
 * The way of a frame, once it stands alone: decode, dispatch, answer. Each command has its flow; what every answer
 * needs (bytes, log line, counters) happens here, in one place.
 */
import { decode, type Message } from '../../protocol/decode';
import { commandName, commandRow } from '../../protocol/commands';
import { fault, FAULTS, faultText, isFault, type Fault } from '../../protocol/faults';
import type { FramerEvent } from '../../protocol/framer';
import { isWmmp, RESPONSE_BIT, type Header } from '../../protocol/header';
import { RESULTS } from '../../protocol/results';
import { encodeAnswer, encodeDisconnect, encodeUnsignedDisconnect } from '../flows/answer';
import { answersNotice, decideHeartbeat } from '../flows/inSession';
import type { Connection, ConnectionHandler, Outcome } from '../listener/connection';
import type { Answer } from '../model';
import type { PipelineContext } from './context';
import { challenge } from './challenge';
import { login } from './login';
import { request } from './requests';
import type { Reporter } from './reporter';
import { WmmpPipeline } from './wmmp';

/** Milliseconds after RETRY_AFTER. */
const COMES_BACK_WITHIN = 10_000;

export class Pipeline implements ConnectionHandler {
  private readonly wmmp: WmmpPipeline;

  /** @param refusalDelay milliseconds: AUTH_FAILED leaves at a whole multiple of them after its frame */
  constructor(
    private readonly context: PipelineContext,
    private readonly reporter: Reporter,
    private readonly refusalDelay: number,
    private readonly onClosed: (connection: Connection) => void,
  ) {
    this.wmmp = new WmmpPipeline(context, reporter, refusalDelay);
  }

  handle(event: FramerEvent, connection: Connection, arrivedAt: number): Outcome | Promise<Outcome> {
    const dialect = isWmmp(event.header.version) ? 'wmmp' : 'v4';
    if (!connection.hasLoggedIn) connection.dialect = dialect;
    if (event.kind === 'refused') return this.refuse(event.header, event.fault, connection);
    if (dialect !== connection.dialect) {
      return this.refuse(event.header, fault('dialect-changed', 8), connection);
    }
    if (dialect === 'wmmp') return this.wmmp.handle(event.header, event.bytes, connection, arrivedAt);
    return this.handleVersion4(event, connection, arrivedAt);
  }

  failed(error: unknown, connection: Connection): void {
    this.reporter.internalError(error, 'serving a connection', connection.serial, connection);
  }

  closed(connection: Connection): void {
    this.onClosed(connection);
  }

  /** A wish to a terminal that speaks WMMP 3.0. */
  configure(connection: Connection): void {
    this.wmmp.configure(connection);
  }

  private handleVersion4(
    event: Extract<FramerEvent, { kind: 'frame' }>,
    connection: Connection,
    arrivedAt: number,
  ): Outcome | Promise<Outcome> {
    const message = decode(event.header, event.bytes);
    if (isFault(message)) return this.refuse(event.header, message, connection);
    if (connection.hasLoggedIn && event.header.serialText !== connection.serial) {
      return this.refuse(event.header, fault('serial-changed', 12), connection);
    }
    return this.dispatch(message, connection, arrivedAt);
  }

  private dispatch(message: Message, connection: Connection, arrivedAt: number): Outcome | Promise<Outcome> {
    const { session } = connection;
    if (message.isResponse) {
      // An answer is never answered, whoever it is from.
      this.heard(message, connection);
      return {};
    }
    if (!commandRow(message.command).opensSession && session === undefined) {
      return this.finish(message, connection, arrivedAt, { result: 'NOT_LOGGED_IN', detail: 'no-session' });
    }
    if (message.command === 'HEARTBEAT' && session !== undefined) {
      const answer = decideHeartbeat(message, session, this.context.around());
      return this.finish(message, connection, arrivedAt, answer);
    }
    return this.dispatchSlow(message, connection, arrivedAt).catch((error: unknown) => {
      this.reporter.internalError(error, message.command, message.header.serialText, connection);
      return this.finish(message, connection, arrivedAt, { result: 'INTERNAL', detail: 'internal-error' });
    });
  }

  private heard(message: Message, connection: Connection): void {
    const { session } = connection;
    if (session === undefined || !answersNotice(message, session, this.context.around().now)) {
      this.reporter.dropped(message);
      return;
    }
    session.notice = undefined;
    this.reporter.notice(session, connection, 'heard by the terminal');
  }

  /** Commands that need the database. */
  private async dispatchSlow(message: Message, connection: Connection, arrivedAt: number): Promise<Outcome> {
    const { session } = connection;
    if (message.command === 'LOGIN' || message.command === 'AUTH_PROOF') {
      const { answer, view } = await login(this.context, message, connection);
      this.reporter.login(message, connection, arrivedAt, answer, view);
      return this.bytes(message, arrivedAt, answer);
    }
    if (message.command === 'AUTH_CHALLENGE' || session === undefined) {
      const answer = await challenge(this.context, message, connection);
      return this.finish(message, connection, arrivedAt, answer);
    }
    const answer = await request(this.context, message, session);
    const outcome = this.finish(message, connection, arrivedAt, answer);
    if (message.command !== 'LOGOUT' || answer.result !== 'OK') return outcome;
    this.context.registry.release(session.terminal.id, connection);
    connection.session = undefined;
    return { ...outcome, close: true };
  }

  private finish(message: Message, connection: Connection, arrivedAt: number, answer: Answer): Outcome {
    this.reporter.request(message, connection, arrivedAt, answer);
    return this.bytes(message, arrivedAt, answer);
  }

  private bytes(message: Message, arrivedAt: number, answer: Answer): Outcome {
    // So that the time tells nothing about which serials exist.
    const delayed = answer.result === 'AUTH_FAILED' || message.command === 'AUTH_CHALLENGE';
    const wait = answer.result === 'BUSY' ? answer.fields?.retryAfter : undefined;
    return {
      bytes: encodeAnswer(message.header, message.digest, answer, this.context.around().now),
      every: delayed ? this.refusalDelay : undefined,
      // Whoever is told to come back may do so on this connection; who has failed before has no more time than others.
      patience: wait === undefined ? undefined : arrivedAt + wait + COMES_BACK_WITHIN,
    };
  }

  /** What is not a frame of the protocol gets its result; the fault says where and why, for the log. */
  private refuse(header: Header, found: Fault, connection: Connection): Outcome {
    if (connection.dialect === 'wmmp') return this.wmmp.refuse(header, found, connection);
    const { result } = FAULTS[found.name];
    this.reporter.fault(commandName(header.command), result, faultText(found), connection);
    if (isAnswer(header)) return { bytes: this.protocolError(connection), close: true };
    const bytes = encodeAnswer(header, undefined, { result }, this.context.around().now);
    return { bytes, close: RESULTS[result].closes };
  }

  /** To an answer that is none: what would answer it would look like that answer. */
  private protocolError(connection: Connection): Buffer | undefined {
    const { session } = connection;
    const sequence = connection.nextSequence();
    return session === undefined
      ? encodeUnsignedDisconnect(sequence, 'protocol-error')
      : encodeDisconnect(session, sequence, 'protocol-error', this.context.around().now);
  }
}

/** To a request of ours, as far as the header tells. */
function isAnswer({ command }: Header): boolean {
  const name = commandName(command);
  return (command & RESPONSE_BIT) !== 0 && name !== undefined && commandRow(name).direction === 'downlink';
}
