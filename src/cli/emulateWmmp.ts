/** `m2m emulate login` and `change` in WMMP 3.0 (docs/wmmp.md, "Commands" and "Change of credentials"). */
import type { Flash } from '../terminal/flash';
import {
  ANSWER_WITHIN_MS,
  WmmpClient,
  type WmmpClientOptions,
  type WmmpListener,
} from '../terminal/wmmp/client';
import type { SecurityConfig } from '../terminal/wmmp/securityConfig';
import type { EmulateOptions } from './emulateOptions';
import { Visit } from './emulateStay';
import {
  badConfigText,
  showConfig,
  showLogout,
  showSwap,
  showWmmpSession,
  wmmpJson,
  wmmpText,
} from './emulateWmmpText';
import { failed } from './errors';
import type { Output } from './output';

/** What this device says its software is, where it is told nothing else. */
const SOFTWARE = 'm2m';

export function wmmpOptions({ key, firmware, timeout }: EmulateOptions): WmmpClientOptions {
  return {
    wishes: { sessionKey: key === true, software: firmware ?? SOFTWARE },
    timeout: timeout === undefined ? ANSWER_WITHIN_MS : timeout * 1000,
  };
}

export function wmmpListener(output: Output): WmmpListener {
  return {
    onLogin: (session) => showWmmpSession(output, session),
    onFrame: (direction, bytes) => output.frame(direction, bytes),
    onConfig: (config) => showConfig(output, config),
    onRefused: ({ reason, text }) =>
      output.event('dropped', { reason, text }, `a frame of the gateway was dropped: ${text}`),
  };
}

export async function wmmpLogin(options: EmulateOptions, flash: Flash, output: Output): Promise<void> {
  const listener = wmmpListener(output);
  const client = await WmmpClient.connect(options.connect, flash, wmmpOptions(options), listener);
  try {
    await loginOnce(client, output);
    if (options.logout) await wmmpLogout(client, output);
  } finally {
    await client.close();
  }
}

async function loginOnce(client: WmmpClient, output: Output): Promise<void> {
  const answer = await client.login();
  if (answer.kind === 'session') return;
  output.event('login', wmmpJson(answer), 'not logged in');
  throw failed(wmmpText('login failed', answer));
}

export async function wmmpLogout(client: WmmpClient, output: Output): Promise<void> {
  const answer = await client.logout();
  showLogout(output, answer);
  if (answer.kind !== 'answered') throw failed(wmmpText('logout failed', answer));
}

/** Seconds for which a SECURITY_CONFIG is waited for. */
const CONFIG_WITHIN_S = 30;

/** The platform begins it: all that the terminal can do is to log in and wait. */
export async function wmmpChange(
  options: EmulateOptions,
  flash: Flash,
  output: Output,
  onStep: NonNullable<WmmpListener['onStep']>,
): Promise<void> {
  const visit = new ChangeVisit({ ...wmmpListener(output), onStep });
  const { connect } = options;
  const client = await WmmpClient.connect(
    connect,
    flash,
    wmmpOptions({ ...options, key: true }),
    visit.listener,
  );
  try {
    await loginOnce(client, output);
    await visit.config(options.timeout ?? CONFIG_WITHIN_S);
    const answer = await client.swap();
    showSwap(output, answer);
    if (answer.kind !== 'session') throw failed(wmmpText('the new values are not taken', answer));
    // What the platform takes for certain: the answer to the login has arrived.
    if (options.logout) await wmmpLogout(client, output);
    else await client.heartbeat();
  } finally {
    await client.close();
  }
}

/** One that waits for a SECURITY_CONFIG. */
class ChangeVisit extends Visit {
  private come: SecurityConfig | undefined;
  readonly listener: WmmpListener;

  constructor(listener: WmmpListener) {
    super(new AbortController().signal);
    this.listener = {
      ...listener,
      onConfig: (config) => {
        listener.onConfig?.(config);
        this.come ??= config;
        this.wake();
      },
      onClose: (error) => this.lose(error),
    };
  }

  /** Returns as soon as one has come whose values are aside. */
  async config(seconds: number): Promise<void> {
    if (this.come === undefined) await this.pause(seconds * 1000);
    if (this.come?.kind === 'bad') throw failed(badConfigText(this.come));
    if (this.come !== undefined) return;
    if (this.lost) throw this.lost;
    throw failed(
      `no SECURITY_CONFIG came within ${seconds} s: in WMMP 3.0 the platform begins a change, and it wishes none (m2m.request_credential_change)`,
    );
  }
}
