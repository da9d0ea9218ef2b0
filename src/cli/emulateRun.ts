/** `m2m emulate run` in version 4.0. */
import { isOk, type Answer } from '../terminal/answers';
import { Client, type Listener } from '../terminal/client';
import type { Flash } from '../terminal/flash';
import { afterDisconnect, afterHeartbeat, afterLogin, type Next } from '../terminal/policy';
import type { Disconnect } from '../terminal/session';
import { changeAndConfirm, confirm } from './emulateChange';
import { clientOptions, loginWishes, type EmulateOptions } from './emulateOptions';
import { FOR_EVER_MS, Stay, Visit, type StayOptions } from './emulateStay';
import { answerJson, answerText } from './emulateText';
import { CliError, failed } from './errors';
import type { Output } from './output';

export class SessionStay extends Stay {
  /** The gateway announced that identity or credentials were changed: the next "no" is meant. */
  private announced = false;

  constructor(
    private readonly options: EmulateOptions & StayOptions,
    private readonly flash: Flash,
    output: Output,
    private readonly listener: Listener,
  ) {
    super(options.for, output);
  }

  protected async visit(): Promise<Next | undefined> {
    const visit = new SessionVisit(this.stop.signal, this.listener);
    const { connect } = this.options;
    try {
      const options = clientOptions(this.options);
      const client = await Client.connect(connect, this.flash, options, visit.listener, this.stop.signal);
      try {
        return await this.loginAndStay(client, visit);
      } finally {
        await client.close();
      }
    } catch (error) {
      if (visit.disconnect) return this.sentAway(visit.disconnect);
      throw error;
    }
  }

  private async loginAndStay(client: Client, visit: SessionVisit): Promise<Next | undefined> {
    const answer = await visit.unlessOver(client.login(loginWishes(this.options)));
    if (answer === undefined) return this.leave(client, visit);
    if (!isOk(answer)) return this.refused(answer);
    this.loggedIn();
    this.announced = false;
    visit.wished = client.session?.wishedChange ?? 0;
    if (this.flash.read().change) await visit.unlessOver(confirm(client, this.output));
    return (await this.beat(client, visit)) ?? this.leave(client, visit);
  }

  /** The platform's wish: new secrets as it decides to send them. A refusal is shown, and life goes on. */
  private async follow(client: Client, visit: SessionVisit): Promise<void> {
    const targets = visit.wished;
    visit.wished = 0;
    const settled = changeAndConfirm(client, this.flash, targets, this.output).catch((error: unknown) => {
      if (!(error instanceof CliError)) throw error;
      this.output.event('change', { text: error.message }, error.message);
    });
    await visit.unlessOver(settled);
  }

  private refused(answer: Answer): Next {
    this.output.event('login', answerJson(answer), answerText('not logged in', answer));
    const final = !this.wasLoggedIn || this.announced;
    const next = afterLogin(answer, final, this.attempt++, Math.random());
    return next.kind === 'stop' ? { kind: 'stop', why: answerText('login failed', answer) } : next;
  }

  /** Beats until the visit is over (undefined) or a heartbeat is answered with what ends it. */
  private async beat(client: Client, visit: SessionVisit): Promise<Next | undefined> {
    const seconds = this.options.heartbeat ?? client.session?.heartbeatInterval ?? 0;
    for (;;) {
      if (visit.wished !== 0) await this.follow(client, visit);
      if (!visit.over.aborted) await visit.pause(seconds > 0 ? seconds * 1000 : FOR_EVER_MS);
      if (visit.over.aborted) return undefined;
      if (visit.wished !== 0) continue;
      const answer = await visit.unlessOver(client.heartbeat());
      if (answer === undefined) return undefined;
      this.output.event('heartbeat', answerJson(answer), answerText('heartbeat', answer));
      const next = isOk(answer) ? undefined : afterHeartbeat(answer, Math.random());
      if (next?.kind === 'stop') return { kind: 'stop', why: answerText('heartbeat failed', answer) };
      if (next) return next;
    }
  }

  private async leave(client: Client, visit: SessionVisit): Promise<Next | undefined> {
    if (visit.disconnect) return this.sentAway(visit.disconnect);
    if (visit.lost) throw visit.lost;
    // It was to stop before the login was answered: the loop above says so.
    if (client.session === undefined) return { kind: 'reconnect', wait: 0 };
    if (!this.options.logout) return undefined;
    const answer = await client.logout();
    this.output.event('logout', answerJson(answer), isOk(answer) ? 'logged out' : 'not logged out');
    if (!isOk(answer)) throw failed(answerText('logout failed', answer));
    return undefined;
  }

  private sentAway(disconnect: Disconnect): Next {
    this.announced = disconnect.signed && disconnect.reason === 'identity-changed';
    const next = afterDisconnect(disconnect, this.attempt++, Math.random());
    return next.kind === 'stop' ? { kind: 'stop', why: `disconnected: ${next.why}` } : next;
  }
}

/** One that a DISCONNECT may end, and a CREDENTIAL_NOTICE wake. */
class SessionVisit extends Visit {
  disconnect: Disconnect | undefined;
  /** Bit mask of what the platform wishes to see changed. */
  wished = 0;
  readonly listener: Listener;

  constructor(stop: AbortSignal, listener: Listener) {
    super(stop);
    this.listener = {
      ...listener,
      onDisconnect: (disconnect) => {
        listener.onDisconnect?.(disconnect);
        this.disconnect ??= disconnect;
        this.end();
      },
      onNotice: (notice) => {
        listener.onNotice?.(notice);
        this.wished = notice.targets;
        this.wake();
      },
      onClose: (error) => this.lose(error),
    };
  }
}
