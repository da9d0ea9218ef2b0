/** `m2m emulate`: plays one terminal against a gateway. */
import type { Command } from 'commander';
import { Client, type Listener } from '../terminal/client';
import { isOk } from '../terminal/answers';
import {
  addEmulateOptions,
  clientOptions,
  loginWishes,
  openFlash,
  type EmulateOptions,
} from './emulateOptions';
import { addChangeOptions, changeOnce, powerCutAfter, type ChangeOptions } from './emulateChange';
import { answerJson, answerText, showDisconnect, showNotice, showSession } from './emulateText';
import { SessionStay } from './emulateRun';
import type { StayOptions } from './emulateStay';
import { wmmpChange, wmmpListener, wmmpLogin } from './emulateWmmp';
import { WmmpStay } from './emulateWmmpRun';
import { failed } from './errors';
import { Output } from './output';
import { secondsValue } from './values';

export function register(program: Command): void {
  const emulate = program
    .command('emulate')
    .description('Plays one terminal and shows every frame field by field.');
  addEmulateOptions(emulate.command('login').description('Logs in, prints the session, ends.')).action(login);
  addEmulateOptions(
    emulate
      .command('run')
      .description(
        'Logs in and stays: beats, obeys DISCONNECT, comes back. Ends by SIGINT, SIGTERM or --for.',
      ),
  )
    .option(
      '--heartbeat <seconds>',
      'instead of the interval that the gateway tells, or of the 5 that are usual with --wmmp',
      secondsValue,
    )
    .option('--for <seconds>', 'end after so long', secondsValue)
    .action(run);
  addChangeOptions(
    addEmulateOptions(
      emulate
        .command('change')
        .description(
          'Logs in, asks for new passwords or a new base key, confirms them. Goes on where it stopped. With --wmmp: waits for what the platform sends.',
        ),
    ),
  ).action(change);
}

async function change(options: EmulateOptions & ChangeOptions): Promise<void> {
  const output = outputOf(options);
  const onStep = powerCutAfter(options);
  const flash = openFlash(options, options.wmmp);
  if (options.wmmp) return wmmpChange(options, flash, output, onStep);
  const listener = { ...listenerFor(output), onStep };
  const client = await Client.connect(options.connect, flash, clientOptions(options), listener);
  try {
    await loginOnce(client, { ...options, logout: undefined }, output);
    await changeOnce(client, flash, options, output);
    if (options.logout) await logout(client, output);
  } finally {
    await client.close();
  }
}

async function login(options: EmulateOptions): Promise<void> {
  const output = outputOf(options);
  const flash = openFlash(options);
  if (options.wmmp) return wmmpLogin(options, flash, output);
  const listener = listenerFor(output);
  const client = await Client.connect(options.connect, flash, clientOptions(options), listener);
  try {
    await loginOnce(client, options, output);
  } finally {
    await client.close();
  }
}

type LoginOptions = Omit<EmulateOptions, 'logout'> & { readonly logout?: true | undefined };

async function loginOnce(client: Client, options: LoginOptions, output: Output): Promise<void> {
  const answer = await client.login(loginWishes(options));
  if (!isOk(answer)) {
    output.event('login', answerJson(answer), 'not logged in');
    throw failed(answerText('login failed', answer));
  }
  if (options.logout) await logout(client, output);
}

async function logout(client: Client, output: Output): Promise<void> {
  const goodbye = await client.logout();
  output.event('logout', answerJson(goodbye), isOk(goodbye) ? 'logged out' : 'not logged out');
  if (!isOk(goodbye)) throw failed(answerText('logout failed', goodbye));
}

function outputOf(options: EmulateOptions): Output {
  return new Output({ json: options.json === true, hex: options.hex === true });
}

function listenerFor(output: Output): Listener {
  return {
    onLogin: (session) => showSession(output, session),
    onFrame: (direction, bytes) => output.frame(direction, bytes),
    onDisconnect: (disconnect) => showDisconnect(output, disconnect),
    onNotice: ({ targets }) => showNotice(output, targets),
    onRefused: ({ reason, text }) =>
      output.event('dropped', { reason, text }, `a frame of the gateway was dropped: ${text}`),
  };
}

async function run(options: EmulateOptions & StayOptions): Promise<void> {
  const output = outputOf(options);
  const flash = openFlash(options);
  const stay = options.wmmp
    ? new WmmpStay(options, flash, output, wmmpListener(output))
    : new SessionStay(options, flash, output, listenerFor(output));
  await stay.run();
}
