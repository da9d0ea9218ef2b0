/** `m2m emulate change`: the terminal's side of a change of credentials, power cuts included. */
import { createInterface } from 'node:readline/promises';
import { Option, type Command } from 'commander';
import { targetNames } from '../protocol/changeTargets';
import { isOk, type Answer } from '../terminal/answers';
import { CHANGE_STEPS, type ChangeStep, type Client } from '../terminal/client';
import type { Flash } from '../terminal/flash';
import { WMMP_CHANGE_STEPS, type WmmpChangeStep } from '../terminal/wmmp/client';
import type { EmulateOptions } from './emulateOptions';
import { answerJson, answerText } from './emulateText';
import { failed, usage } from './errors';
import type { Output } from './output';
import { targetsValue } from './values';

const DELIVERIES = { decide: undefined, ciphertext: 1, sms: 2, 'sms-plain': 3 } as const;

type AnyStep = ChangeStep | WmmpChangeStep;

export interface ChangeOptions {
  /** Bit mask. */
  readonly targets?: number;
  readonly delivery: keyof typeof DELIVERIES;
  readonly smsText?: string;
  readonly crashAfter?: AnyStep;
}

export function addChangeOptions(command: Command): Command {
  return command
    .option(
      '--targets <names>',
      'uplink,downlink,base_key or all; without it, what is under way goes on',
      targetsValue,
    )
    .addOption(
      new Option('--delivery <way>', 'how the new values are to come')
        .choices(Object.keys(DELIVERIES))
        .default('decide'),
    )
    .option('--sms-text <text>', 'the text that has come by SMS; - reads it as a line from standard input')
    .addOption(
      new Option('--crash-after <step>', 'end like a power cut (SIGKILL) right after this').choices([
        ...CHANGE_STEPS,
        ...WMMP_CHANGE_STEPS,
      ]),
    );
}

/** A listener that ends the process without a trace of good manners. */
export function powerCutAfter(
  options: ChangeOptions & Pick<EmulateOptions, 'wmmp'>,
): (step: AnyStep) => void {
  const { crashAfter: wanted } = options;
  const steps: readonly AnyStep[] = options.wmmp ? WMMP_CHANGE_STEPS : CHANGE_STEPS;
  if (wanted !== undefined && !steps.includes(wanted)) {
    const dialect = options.wmmp ? 'with --wmmp' : 'without --wmmp';
    throw usage(`--crash-after ${wanted}: ${dialect} it must be one of ${steps.join(', ')}`);
  }
  return (step) => {
    if (step === wanted) process.kill(process.pid, 'SIGKILL');
  };
}

/** On a session that stands: asks where there is something to ask, takes a text where there is one, confirms. */
export async function changeOnce(
  client: Client,
  flash: Flash,
  options: ChangeOptions,
  output: Output,
): Promise<void> {
  if (options.targets !== undefined && options.smsText !== '-' && options.smsText !== undefined) {
    throw usage(
      '--sms-text answers a change that was asked for before: leave --targets out, or give - for later',
    );
  }
  if (options.targets !== undefined) {
    const waits = await ask(client, options.targets, options.delivery, output);
    if (waits && options.smsText === undefined) return;
  }
  if (options.smsText !== undefined) takeText(client, await textOf(options.smsText), output);
  const { change } = flash.read();
  if (change !== undefined) return confirm(client, output);
  // The login may have settled it.
  if (options.targets === undefined && options.smsText === undefined) {
    output.event('confirm', { pending: false }, 'no change is under way: what the terminal has is current');
  }
}

/** What a terminal does at the platform's wish. */
export async function changeAndConfirm(
  client: Client,
  flash: Flash,
  targets: number,
  output: Output,
): Promise<void> {
  const waits = await ask(client, targets, 'decide', output);
  if (!waits && flash.read().change) await confirm(client, output);
}

/** @returns whether the values come by SMS */
async function ask(
  client: Client,
  targets: number,
  delivery: ChangeOptions['delivery'],
  output: Output,
): Promise<boolean> {
  const answer = await client.change(targets, DELIVERIES[delivery]);
  const waits = answer.kind === 'signed' && answer.result === 'WAIT_FOR_SMS';
  const id = answer.kind === 'signed' ? answer.fields.changeId : undefined;
  const data = {
    ...answerJson(answer),
    ...(id !== undefined && { change_id: id, change_targets: targetNames(targets) }),
  };
  if (!isOk(answer) && !waits) {
    output.event('change', data, 'no change');
    throw failed(answerText('change failed', answer));
  }
  const how = waits ? 'its values come by SMS' : 'its values have come, and are stored';
  output.event('change', data, `change ${id}: ${how}`);
  return waits;
}

async function textOf(given: string): Promise<string> {
  if (given !== '-') return given;
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) return line.trim();
  throw failed('standard input ended before a text came');
}

function takeText(client: Client, text: string, output: Output): void {
  const why = client.takeText(text);
  if (why === undefined) {
    output.event('sms', { taken: true }, 'the text is genuine; its values are stored');
    return;
  }
  output.event('sms', { taken: false, reason: why }, 'the text is not taken');
  throw failed(`the text is not taken: ${TEXT_REFUSALS[why as keyof typeof TEXT_REFUSALS]}`);
}

const TEXT_REFUSALS = {
  'not-awaited': 'the terminal waits for none',
  'not-a-text': 'it is not a text of this protocol, or has other values than were announced',
  'other-change': 'it belongs to another change',
  'wrong-seal': 'its seal is wrong: forged, damaged, or written for another terminal',
} as const;

export async function confirm(client: Client, output: Output): Promise<void> {
  const answer: Answer = await client.confirm();
  output.event(
    'confirm',
    answerJson(answer),
    isOk(answer) ? 'confirmed: the new values are current' : 'not confirmed',
  );
  if (!isOk(answer)) throw failed(answerText('confirmation failed', answer));
}
