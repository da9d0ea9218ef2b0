/** How a playing device says what happened to it. */
import { targetNames } from '../protocol/changeTargets';
import { RESULTS } from '../protocol/results';
import type { Answer } from '../terminal/answers';
import type { Disconnect, Session } from '../terminal/session';
import type { Output } from './output';

/** What the gateway answered, and what that means. */
export function answerText(what: string, answer: Answer): string {
  if (answer.kind === 'refused') return `${what}: the answer cannot be trusted: ${answer.text}`;
  const { result } = answer;
  const text = `${what}: the gateway answered ${result}: ${RESULTS[result].text}`;
  if (answer.kind === 'signed') return text;
  const retry = answer.retryAfter === undefined ? '' : `, in ${answer.retryAfter / 1000} s by its own word`;
  return `${text} (unsigned: try again later${retry})`;
}

export function answerJson(answer: Answer): object {
  if (answer.kind === 'refused') return { refused: answer.reason, text: answer.text };
  const retry = answer.kind === 'unsigned' ? answer.retryAfter : undefined;
  return {
    result: answer.result,
    signed: answer.kind === 'signed',
    text: RESULTS[answer.result].text,
    ...(retry !== undefined && { retry_after_ms: retry }),
  };
}

export function showSession(output: Output, session: Session): void {
  const id = session.id.toString('hex');
  const key = session.key?.toString('hex');
  const wished = targetNames(session.wishedChange);
  const lines = [
    `logged in: session ${id}, for ${session.ttl} s, heartbeat every ${session.heartbeatInterval} s`,
    ...(key === undefined ? [] : [`session key: ${key}`]),
    ...(wished.length === 0 ? [] : [`the platform wishes a change of: ${wished.join(', ')}`]),
  ];
  const data = {
    result: 'OK',
    session_id: id,
    session_ttl: session.ttl,
    heartbeat_interval: session.heartbeatInterval,
    ...(key !== undefined && { session_key: key }),
    ...(wished.length > 0 && { change_targets: wished }),
  };
  output.event('login', data, lines.join('\n'));
}

export function showDisconnect(output: Output, { signed, reason, retryAfter }: Disconnect): void {
  const retry = retryAfter === undefined ? '' : `, come back after ${retryAfter / 1000} s`;
  const data = { reason, signed, ...(retryAfter !== undefined && { retry_after_ms: retryAfter }) };
  output.event(
    'disconnect',
    data,
    `the gateway disconnects${signed ? '' : ' (unsigned)'}: ${reason}${retry}`,
  );
}

export function showNotice(output: Output, targets: number): void {
  const names = targetNames(targets);
  output.event('notice', { change_targets: names }, `the platform wishes a change of: ${names.join(', ')}`);
}
