/**
 * A device that speaks WMMP 3.0: its flash, one connection, and the session on it.
 *
 * Modes: connected (only login is of use), logged in (from a LOGIN answered well until LOGOUT or the end of the
 * connection), closed. New secrets that the gateway sends are kept aside and acknowledged at once; swap() takes them
 * into use. A client does not reconnect: whoever plays a device opens a new one over the same flash.
 */
import { LARGEST_FRAME } from '../../protocol/header';
import { downlinkJudge } from '../../protocol/judgeDownlink';
import { ABOUT_TO_SWAP, WMMP_RESULTS } from '../../protocol/wmmp/commands';
import type { Arrival, Refused } from '../answers';
import {
  Connection,
  ConnectionError,
  handlersFor,
  Silence,
  type ConnectionListener,
  type Frame,
  type Where,
} from '../connection';
import { takeSequence, type Flash } from '../flash';
import type { DeviceState } from '../state';
import { judgeAnswered, judgeLogin, type Answered, type LoginAnswer } from './answers';
import {
  configAnswer,
  heartbeatRequest,
  loginRequest,
  logoutRequest,
  VERSION_3_0,
  type WmmpAsked,
  type WmmpWishes,
} from './requests';
import { swapped, withAside, withoutAside } from './secrets';
import { judgeConfig, type SecurityConfig } from './securityConfig';
import type { WmmpSession } from './session';

/** Between any two of these the power may fail. */
export const WMMP_CHANGE_STEPS = [
  'config-stored',
  'config-acknowledged',
  'logout-answered',
  'login-sent',
  'login-answered',
] as const;
export type WmmpChangeStep = (typeof WMMP_CHANGE_STEPS)[number];

/** What happens, in the order of the wire. */
export interface WmmpListener extends ConnectionListener {
  /** A SECURITY_CONFIG may follow at once, before login() has returned. */
  onLogin?(session: WmmpSession): void;
  /** Has been acknowledged already. */
  onConfig?(config: SecurityConfig): void;
  /** A change of credentials has got this far. */
  onStep?(step: WmmpChangeStep): void;
}

export interface WmmpClientOptions {
  readonly wishes: WmmpWishes;
  /** Milliseconds: for connecting, and for each answer until its request is sent again. */
  readonly timeout: number;
}

/** Milliseconds for which stacks wait before they send the same frame again. */
export const ANSWER_WITHIN_MS = 15_000;
/** How often they do. */
const REPEATS = 3;

/** [?] Reason of a LOGOUT without a login to follow. */
const GOODBYE = 1;

const JUDGE = downlinkJudge(LARGEST_FRAME, [VERSION_3_0]);

export class WmmpClient {
  private current: WmmpSession | undefined;

  private constructor(
    private readonly flash: Flash,
    private readonly options: WmmpClientOptions,
    private readonly listener: WmmpListener,
    private readonly connection: Connection,
  ) {}

  static async connect(
    where: Where,
    flash: Flash,
    options: WmmpClientOptions,
    listener: WmmpListener,
    signal?: AbortSignal,
  ): Promise<WmmpClient> {
    // The handlers need the client, which needs the connection: nothing can arrive before this function returns.
    const link: { client?: WmmpClient } = {};
    const handlers = handlersFor(
      listener,
      (frame) => link.client?.obey(frame),
      () => {
        if (link.client) link.client.current = undefined;
      },
    );
    const connection = await Connection.open(where, JUDGE, handlers, options.timeout, signal);
    return (link.client = new WmmpClient(flash, options, listener, connection));
  }

  /** The session on this connection, while it stands. */
  get session(): WmmpSession | undefined {
    return this.current;
  }

  /** Logs in with what is current: what a power cut or a lost connection has left aside is given up. */
  login(): Promise<LoginAnswer> {
    this.goBack();
    return this.loginAs((state) => state);
  }

  heartbeat(): Promise<Answered | Refused> {
    const { sequence, state } = takeSequence(this.flash);
    const asked = heartbeatRequest(state, sequence);
    return this.ask(asked, (arrival) => judgeAnswered(asked, arrival));
  }

  async logout(): Promise<Answered | Refused> {
    return this.leave(GOODBYE);
  }

  /**
   * Takes the secrets that are aside into use: ends the session, and begins one under them. They become the current
   * ones where that login is answered well, and are dropped wherever it is not.
   */
  async swap(): Promise<LoginAnswer> {
    let isProven = false;
    try {
      const left = await this.leave(ABOUT_TO_SWAP);
      if (left.kind === 'refused') return left;
      this.step('logout-answered');
      const answer = this.loginAs(swapped, (judged) => {
        this.step('login-answered');
        if (judged.kind !== 'session') return;
        this.flash.update(swapped);
        isProven = true;
      });
      this.step('login-sent');
      return await answer;
    } finally {
      if (!isProven) this.goBack();
    }
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  /** @param settle runs as the answer arrives, before anything behind it is looked at */
  private loginAs(
    device: (state: DeviceState) => DeviceState,
    settle: (answer: LoginAnswer) => void = () => undefined,
  ): Promise<LoginAnswer> {
    const { sequence, state } = takeSequence(this.flash);
    const asked = loginRequest(device(state), sequence, this.options.wishes);
    return this.ask(asked, (arrival) => {
      const answer = judgeLogin(asked, arrival);
      settle(answer);
      if (answer.kind === 'session') {
        this.current = answer;
        this.listener.onLogin?.(answer);
      }
      return answer;
    });
  }

  private leave(reason: number): Promise<Answered | Refused> {
    const { current } = this;
    if (current === undefined) throw new ConnectionError('no session stands that could be ended');
    const asked = logoutRequest(current, takeSequence(this.flash).sequence, reason);
    return this.ask(asked, (arrival) => {
      const answer = judgeAnswered(asked, arrival);
      if (answer.kind === 'answered') this.current = undefined;
      return answer;
    });
  }

  /** Asks as stacks do: a gateway that is silent gets the same frame again. */
  private async ask<T>({ command, frame, sequence }: WmmpAsked, judge: (arrival: Arrival) => T): Promise<T> {
    const { timeout } = this.options;
    for (let sent = 1; ; sent++) {
      try {
        return await this.connection.ask(frame, sequence, timeout, judge);
      } catch (error) {
        if (!(error instanceof Silence)) throw error;
        if (sent > REPEATS) throw new Silence(`${error.message}, though ${command} was sent ${sent} times`);
      }
    }
  }

  private goBack(): void {
    if (this.flash.read().aside !== undefined) this.flash.update(withoutAside);
  }

  private step(step: WmmpChangeStep): void {
    this.listener.onStep?.(step);
  }

  private obey(frame: Frame): void {
    const { current } = this;
    const config = judgeConfig(current, frame);
    if (config.kind === 'refused') return this.listener.onRefused?.(config);
    // For the compiler: without a session it was refused.
    if (current === undefined) return;
    const { sequence } = frame.header;
    if (config.kind === 'bad') {
      this.connection.send(configAnswer(current, sequence, WMMP_RESULTS.failed, config.tags));
    } else {
      this.flash.update((state) => withAside(state, config.values));
      this.step('config-stored');
      this.connection.send(configAnswer(current, sequence, WMMP_RESULTS.ok, []));
      this.step('config-acknowledged');
    }
    this.listener.onConfig?.(config);
  }
}
