/**
 * A device at work: its flash, one connection, and the session on it.
 *
 * Modes: connected (only login is of use), logged in (from a LOGIN answered OK until LOGOUT, a DISCONNECT or the end
 * of the connection), closed. A client does not reconnect: whoever plays a device opens a new one over the same flash.
 */
import { randomBytes } from 'node:crypto';
import { LARGEST_FRAME, VERSION_4_0 } from '../protocol/header';
import { downlinkJudge } from '../protocol/judgeDownlink';
import type { SignedSuite } from '../protocol/suites';
import { CLOCK_ANSWER_WITHIN_MS, isOk, judgeAnswer, refuse, type Answer } from './answers';
import { takeChange } from './changeAnswer';
import {
  Connection,
  handlersFor,
  type ConnectionListener,
  type Frame,
  type Handlers,
  type Link,
  type Where,
} from './connection';
import { takeSequence, type Flash } from './flash';
import { challengeRequest, judgeChallenge } from './mutual';
import {
  changeRequest,
  confirmRequest,
  heartbeatRequest,
  loginRequest,
  logoutRequest,
  proofRequest,
  type Asked,
  type LoginWishes,
  type Moment,
  type Proof,
} from './requests';
import {
  judgeDownlink,
  noticeReply,
  openSession,
  type Disconnect,
  type Notice,
  type Session,
} from './session';
import {
  afterProof,
  afterText,
  baseKeyCandidates,
  confirmingDevice,
  uplinkCandidates,
  withConfirming,
  withoutChange,
} from './secrets';
import { hasSpares, StateError, type DeviceState } from './state';

export interface ClientOptions {
  /** Instead of the one in flash. */
  readonly suite?: SignedSuite | undefined;
  /** Whether requests carry their timestamp. */
  readonly explicitTime: boolean;
  /** Milliseconds, for connecting and for every answer. */
  readonly timeout: number;
}

/** Between any two of these the power may fail. */
export const CHANGE_STEPS = [
  'change-sent',
  'change-answered',
  'change-stored',
  'text-stored',
  'confirm-stored',
  'confirm-sent',
  'confirm-answered',
  'confirm-settled',
] as const;
export type ChangeStep = (typeof CHANGE_STEPS)[number];

/** What happens, in the order of the wire. */
export interface Listener extends ConnectionListener {
  /** A DISCONNECT may follow at once, before login() has returned. */
  onLogin?(session: Session): void;
  onDisconnect?(disconnect: Disconnect): void;
  /** Has been acknowledged already. */
  onNotice?(notice: Notice): void;
  /** A change of credentials has got this far. */
  onStep?(step: ChangeStep): void;
}

const JUDGE = downlinkJudge(LARGEST_FRAME, [VERSION_4_0]);

/** A clock that is right to the second would be written to flash with every answer. */
const CLOCK_TOLERANCE_S = 2;

export class Client {
  private current: Session | undefined;

  private constructor(
    private readonly flash: Flash,
    private readonly options: ClientOptions,
    private readonly listener: Listener,
    private readonly connection: Link,
  ) {}

  static connect(
    where: Where,
    flash: Flash,
    options: ClientOptions,
    listener: Listener,
    signal?: AbortSignal,
  ): Promise<Client> {
    const dial = (handlers: Handlers) => Connection.open(where, JUDGE, handlers, options.timeout, signal);
    return Client.over(dial, flash, options, listener);
  }

  /** As connect(), over any link. */
  static async over(
    dial: (handlers: Handlers) => Promise<Link>,
    flash: Flash,
    options: ClientOptions,
    listener: Listener,
  ): Promise<Client> {
    // The handlers need the client, which needs the connection: nothing can arrive before this function returns.
    const link: { client?: Client } = {};
    const handlers = handlersFor(
      listener,
      (frame) => link.client?.obey(frame),
      () => {
        if (link.client) link.client.current = undefined;
      },
    );
    return (link.client = new Client(flash, options, listener, await dial(handlers)));
  }

  /** The session on this connection, while it stands. */
  get session(): Session | undefined {
    return this.current;
  }

  /**
   * Logs in. Where the answer corrects the clock, once more with the right time; where a change has not been settled,
   * with each of the secrets that may be the current ones.
   */
  async login(wishes: LoginWishes): Promise<Answer> {
    let [uplinks, keys] = candidatesOf(this.flash.read(), wishes);
    let corrected = false;
    for (;;) {
      const answer = await this.loginOnce(wishes, uplinks[0], keys[0]);
      if (answer.kind === 'refused') return answer;
      if (tellsTheTime(answer) && !corrected) corrected = true;
      else if (answer.result === 'AUTH_FAILED' && uplinks.length > 1) uplinks = uplinks.slice(1);
      else if (answer.result === 'BASE_KEY_MISMATCH' && keys.length > 1) keys = keys.slice(1);
      else return answer;
    }
  }

  private async loginOnce(wishes: LoginWishes, uplink?: Buffer, baseKey?: Buffer): Promise<Answer> {
    const proof = wishes.mutual ? await this.proof() : undefined;
    if (proof !== undefined && 'kind' in proof) return proof;
    return this.ask(
      (state, moment) => {
        const device = {
          ...state,
          uplinkPassword: uplink ?? state.uplinkPassword,
          baseKey: baseKey ?? state.baseKey,
        };
        return proof ? proofRequest(device, moment, wishes, proof) : loginRequest(device, moment, wishes);
      },
      (answer, asked) => {
        const session = answer.kind === 'signed' ? openSession(asked, answer) : undefined;
        if (session === undefined) return answer;
        this.current = session;
        this.listener.onLogin?.(session);
        return answer;
      },
    );
  }

  /**
   * Asks for new secrets; what comes as ciphertext is in flash when this returns.
   *
   * @param targets bit mask
   * @param delivery CHANGE_DELIVERY; undefined: the platform decides
   */
  async change(targets: number, delivery: number | undefined): Promise<Answer> {
    for (const baseKey of [...baseKeyCandidates(this.flash.read()), undefined]) {
      const answer = await this.changeWith(targets, delivery, baseKey);
      const refused = answer.kind === 'signed' && answer.result === 'CHANGE_REFUSED';
      if (!refused || baseKey === undefined) return answer;
    }
    throw new Error('unreachable');
  }

  private changeWith(
    targets: number,
    delivery: number | undefined,
    baseKey: Buffer | undefined,
  ): Promise<Answer> {
    const answer = this.ask(
      (device, moment) => changeRequest({ ...device, baseKey }, moment, targets, delivery),
      (answer, asked) => {
        this.step('change-answered');
        const taken = this.takeAnswer(answer, asked, targets);
        this.step('change-stored');
        return taken;
      },
    );
    this.step('change-sent');
    return answer;
  }

  private takeAnswer(answer: Answer, asked: Asked, targets: number): Answer {
    const taken = takeChange(this.flash.read(), asked, answer, targets);
    if (taken.kind === 'refused') return taken;
    if (taken.kind === 'taken') {
      const { change, waiting, spares } = taken.state;
      this.flash.update((state) => ({ ...state, change, waiting, spares }));
    }
    return answer;
  }

  /** A text that arrived: its values are in flash when this returns undefined; else why it is not taken. */
  takeText(text: string): string | undefined {
    const after = afterText(this.flash.read(), text);
    if (typeof after === 'string') return after;
    this.flash.update((state) => {
      const taken = afterText(state, text);
      return typeof taken === 'string' ? state : taken;
    });
    this.step('text-stored');
    return undefined;
  }

  /** Shows that the device has the new values of its change. Nothing else may be asked until this returns. */
  confirm(): Promise<Answer> {
    const { change } = this.flash.update(withConfirming);
    if (change === undefined) throw new StateError('there is no change to confirm');
    this.step('confirm-stored');
    const answer = this.ask(
      (device, moment) =>
        confirmRequest(confirmingDevice(device), moment, change.id, change.baseKey !== undefined),
      (answer) => {
        this.step('confirm-answered');
        if (answer.kind === 'signed' && answer.result === 'CHANGE_REFUSED') this.flash.update(withoutChange);
        this.step('confirm-settled');
        return answer;
      },
    );
    this.step('confirm-sent');
    return answer;
  }

  private step(step: ChangeStep): void {
    this.listener.onStep?.(step);
  }

  /** Challenges the platform. One that does not hold the base key gets nothing more, and the connection is closed. */
  private async proof(): Promise<Proof | Answer> {
    const { device, moment } = this.nextMoment();
    const { hardwareId, credentialPacket } = device;
    if (hardwareId === undefined || credentialPacket === undefined)
      throw new StateError('two-way login needs a hardware id and a credential packet');
    const challenge = challengeRequest(device, moment, randomBytes(16));
    const { frame, sequence } = challenge;
    const verdict = await this.connection.ask(frame, sequence, this.options.timeout, (arrival) => {
      const judged = judgeChallenge(device, challenge, arrival);
      if (judged.kind === 'trusted' && arrival.elapsed <= CLOCK_ANSWER_WITHIN_MS)
        this.learnOffset(device, judged.timestamp - Math.floor(arrival.at / 1000));
      return judged;
    });
    if (verdict.kind === 'trusted')
      return { hardwareId, credentialPacket, serverNonce: verdict.serverNonce, thirdCode: verdict.thirdCode };
    if (verdict.kind === 'refused') await this.connection.close();
    return verdict;
  }

  heartbeat(): Promise<Answer> {
    return this.ask(heartbeatRequest, (answer) => answer);
  }

  logout(): Promise<Answer> {
    return this.ask(logoutRequest, (answer) => {
      if (answer.kind === 'signed' && answer.result === 'OK') this.current = undefined;
      return answer;
    });
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  /** `settle` runs as the answer arrives, so that what stands behind it on the wire finds the session it opened. */
  private ask(
    build: (device: DeviceState, moment: Moment) => Asked,
    settle: (answer: Answer, asked: Asked) => Answer,
  ): Promise<Answer> {
    const { device, moment } = this.nextMoment();
    const asked = build(device, moment);
    return this.connection.ask(asked.frame, asked.sequence, this.options.timeout, (arrival) => {
      const answer = judgeAnswer(asked, arrival);
      this.learnTime(device, answer);
      const settled = settle(answer, asked);
      this.learnSecrets(asked, settled);
      return settled;
    });
  }

  private nextMoment(): { device: DeviceState; moment: Moment } {
    const { sequence, state: stored } = takeSequence(this.flash);
    // A session stays in the suite of its login.
    const suite = this.current?.suite ?? this.options.suite ?? stored.suite;
    const moment = { sequence, time: deviceTime(stored), explicit: this.options.explicitTime };
    return { device: { ...stored, suite }, moment };
  }

  /** What was answered OK was made with what is current on the platform, and so was its answer. */
  private learnSecrets({ uplinkPassword, baseKey }: Asked, answer: Answer): void {
    if (!isOk(answer)) return;
    const { downlinkPassword } = answer;
    const state = this.flash.read();
    if (state.change || hasSpares(state.spares)) {
      this.flash.update((state) => afterProof(state, { uplinkPassword, downlinkPassword, baseKey }));
    }
    if (this.current) this.current = { ...this.current, downlinkPassword };
  }

  private learnTime(device: DeviceState, answer: Answer): void {
    if (answer.kind !== 'signed' || answer.clockOffset === undefined) return;
    this.learnOffset(device, answer.clockOffset);
  }

  /** @param clockOffset seconds */
  private learnOffset(device: DeviceState, clockOffset: number): void {
    if (Math.abs(clockOffset - device.clockOffset) < CLOCK_TOLERANCE_S) return;
    this.flash.update((state) => ({ ...state, clockOffset }));
  }

  private obey(frame: Frame): void {
    const { current } = this;
    const request = judgeDownlink(current, frame);
    if (request.kind === 'refused') return this.listener.onRefused?.(request);
    if (request.kind === 'disconnect') {
      this.current = undefined;
      return this.listener.onDisconnect?.(request);
    }
    if (current === undefined) return this.listener.onRefused?.(refuse('no-session'));
    const device = this.flash.read();
    this.connection.send(noticeReply(device, current, request, deviceTime(device)));
    this.listener.onNotice?.(request);
  }
}

function tellsTheTime(answer: Answer): boolean {
  return answer.kind === 'signed' && answer.result === 'CLOCK_SKEW' && answer.clockOffset !== undefined;
}

function candidatesOf(state: DeviceState, wishes: LoginWishes): [Buffer[], Buffer[]] {
  return [uplinkCandidates(state), wishes.sessionKey ? baseKeyCandidates(state) : []];
}

/** Unix seconds, as the device believes. */
function deviceTime({ clockOffset }: DeviceState): number {
  return Math.floor(Date.now() / 1000) + clockOffset;
}
