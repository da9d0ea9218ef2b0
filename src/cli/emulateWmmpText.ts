/** How a device that plays WMMP 3.0 says what happened to it. */
import { hexTag } from '../protocol/tlv';
import type { Refused } from '../terminal/answers';
import { timeText } from '../terminal/frameTable';
import type { Answered, LoginAnswer } from '../terminal/wmmp/answers';
import type { SecurityConfig } from '../terminal/wmmp/securityConfig';
import type { WmmpSession } from '../terminal/wmmp/session';
import type { Output } from './output';

type AnyAnswer = LoginAnswer | Answered;

/** What the gateway answered, and what that means. */
export function wmmpText(what: string, answer: AnyAnswer): string {
  switch (answer.kind) {
    case 'refused':
      return `${what}: the answer cannot be trusted: ${answer.text}`;
    case 'denied':
      return `${what}: the gateway answered result ${answer.result}, which is the same for every reason: see its log`;
    case 'session':
    case 'answered':
      return `${what}: OK`;
  }
}

export function wmmpJson(answer: AnyAnswer): object {
  switch (answer.kind) {
    case 'refused':
      return { refused: answer.reason, text: answer.text };
    case 'denied':
      return { result: answer.result };
    case 'session':
    case 'answered':
      return { result: 'OK' };
  }
}

export function showWmmpSession(output: Output, { timestamp, key }: WmmpSession): void {
  const shown = key?.toString('hex');
  const lines = [
    `logged in: timestamp ${timestamp} (${timeText(timestamp)})`,
    ...(shown === undefined ? [] : [`session key: ${shown}`]),
  ];
  const data = { result: 'OK', timestamp, ...(shown !== undefined && { session_key: shown }) };
  output.event('login', data, lines.join('\n'));
}

const TARGETS = [
  ['uplinkPassword', 'uplink'],
  ['downlinkPassword', 'downlink'],
  ['baseKey', 'base_key'],
] as const;

export function showConfig(output: Output, config: SecurityConfig): void {
  if (config.kind === 'bad') {
    output.event('change', { refused: 'bad-values', tags: config.tags.map(hexTag) }, badConfigText(config));
    return;
  }
  const names = TARGETS.filter(([field]) => config.values[field] !== undefined).map(([, name]) => name);
  const text = `new values have come for ${names.join(', ')}; they are stored aside until a login proves them`;
  output.event('change', { result: 'OK', change_targets: names }, text);
}

export function badConfigText({ tags }: Extract<SecurityConfig, { kind: 'bad' }>): string {
  const what = tags.length === 0 ? 'it is none that sets values' : `bad: ${tags.map(hexTag).join(', ')}`;
  return `SECURITY_CONFIG is not taken: ${what}`;
}

export function showSwap(output: Output, answer: LoginAnswer): void {
  const text =
    answer.kind === 'session'
      ? 'confirmed: the new values are current'
      : wmmpText('not confirmed, and the old values are kept', answer);
  output.event('confirm', wmmpJson(answer), text);
}

export function showLogout(output: Output, answer: Answered | Refused): void {
  output.event('logout', wmmpJson(answer), answer.kind === 'answered' ? 'logged out' : 'not logged out');
}
