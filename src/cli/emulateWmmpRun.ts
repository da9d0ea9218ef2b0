/** `m2m emulate run` in WMMP 3.0. */
import type { Flash } from '../terminal/flash';
import { waitBefore, type Next } from '../terminal/policy';
import { WmmpClient, type WmmpListener } from '../terminal/wmmp/client';
import type { LoginAnswer } from '../terminal/wmmp/answers';
import type { EmulateOptions } from './emulateOptions';
import { Stay, Visit, type StayOptions } from './emulateStay';
import { wmmpLogout, wmmpOptions } from './emulateWmmp';
import { showSwap, wmmpJson, wmmpText } from './emulateWmmpText';
import type { Output } from './output';

/** Seconds between heartbeats, as stacks have it. */
const HEARTBEAT_S = 5;

export class WmmpStay extends Stay {
  constructor(
    private readonly options: EmulateOptions & StayOptions,
    private readonly flash: Flash,
    output: Output,
    private readonly listener: WmmpListener,
  ) {
    super(options.for, output);
  }

  protected async visit(): Promise<Next | undefined> {
    const visit = new ConfigVisit(this.stop.signal, this.listener);
    const { connect } = this.options;
    const options = wmmpOptions(this.options);
    const client = await WmmpClient.connect(connect, this.flash, options, visit.listener, this.stop.signal);
    try {
      return await this.loginAndStay(client, visit);
    } finally {
      await client.close();
    }
  }

  private async loginAndStay(client: WmmpClient, visit: ConfigVisit): Promise<Next | undefined> {
    const answer = await visit.unlessOver(client.login());
    if (answer === undefined) return this.leave(client, visit);
    if (answer.kind !== 'session') return this.refused(answer);
    this.loggedIn();
    return (await this.beat(client, visit)) ?? this.leave(client, visit);
  }

  /** A refusal says the same whatever its reason, and anyone may have sent it: only before the first login it ends all. */
  private refused(answer: LoginAnswer): Next {
    this.output.event('login', wmmpJson(answer), 'not logged in');
    const why = wmmpText('login failed', answer);
    return this.wasLoggedIn ? this.later() : { kind: 'stop', why };
  }

  /** Beats until the visit is over (undefined) or an answer ends it. */
  private async beat(client: WmmpClient, visit: ConfigVisit): Promise<Next | undefined> {
    const seconds = this.options.heartbeat ?? HEARTBEAT_S;
    for (;;) {
      const swap = visit.isConfigured ? await this.swap(client, visit) : undefined;
      if (swap) return swap;
      if (!visit.over.aborted) await visit.pause(seconds * 1000);
      if (visit.over.aborted) return undefined;
      if (visit.isConfigured) continue;
      const answer = await visit.unlessOver(client.heartbeat());
      if (answer === undefined) return undefined;
      this.output.event('heartbeat', wmmpJson(answer), wmmpText('heartbeat', answer));
      if (answer.kind !== 'answered') return this.later();
    }
  }

  /** Where it fails, the next connection logs in with the old values. */
  private async swap(client: WmmpClient, visit: ConfigVisit): Promise<Next | undefined> {
    visit.isConfigured = false;
    const answer = await visit.unlessOver(client.swap());
    if (answer === undefined) return undefined;
    showSwap(this.output, answer);
    return answer.kind === 'session' ? undefined : this.later();
  }

  private async leave(client: WmmpClient, visit: ConfigVisit): Promise<Next | undefined> {
    if (visit.lost) throw visit.lost;
    // It was to stop before a login was answered: the loop above says so.
    if (client.session === undefined) return { kind: 'reconnect', wait: 0 };
    if (this.options.logout) await wmmpLogout(client, this.output);
    return undefined;
  }

  private later(): Next {
    return { kind: 'reconnect', wait: waitBefore(this.attempt++, undefined, Math.random()) };
  }
}

/** One that a SECURITY_CONFIG wakes. */
class ConfigVisit extends Visit {
  /** New values are aside, and wait to be taken into use. */
  isConfigured = false;
  readonly listener: WmmpListener;

  constructor(stop: AbortSignal, listener: WmmpListener) {
    super(stop);
    this.listener = {
      ...listener,
      onConfig: (config) => {
        listener.onConfig?.(config);
        if (config.kind === 'bad') return;
        this.isConfigured = true;
        this.wake();
      },
      onClose: (error) => this.lose(error),
    };
  }
}
