import type { Answer } from '../../src/terminal/answers';
import { afterDisconnect, afterHeartbeat, afterLogin, waitBefore } from '../../src/terminal/policy';

const signed = (result: string) => ({ kind: 'signed', result }) as Answer;
const unsigned = (result: string, retryAfter?: number) =>
  ({ kind: 'unsigned', result, retryAfter }) as Answer;
const disconnect = (reason: string, isSigned = true, retryAfter?: number) =>
  afterDisconnect({ kind: 'disconnect', signed: isSigned, reason: reason as 'expired', retryAfter }, 0, 0);

test('waits double up to a minute, and never undercut what the gateway asks for', () => {
  expect([0, 1, 2, 20].map((attempt) => waitBefore(attempt, undefined, 1))).toEqual([
    1000, 2000, 4000, 60_000,
  ]);
  expect(waitBefore(0, undefined, 0)).toBe(500);
  expect([0, 1].map((random) => waitBefore(5, 8000, random))).toEqual([8000, 10_000]);
});

test.each(['superseded', 'suspended', 'protocol-error'])('%s ends it where it is signed', (reason) => {
  expect(disconnect(reason).kind).toBe('stop');
  expect(disconnect(reason, false, 300)).toEqual({ kind: 'reconnect', wait: 300 });
});

test.each(['identity-changed', 'shutting-down', 'expired'])('%s: comes back', (reason) => {
  expect(disconnect(reason, true, 700)).toEqual({ kind: 'reconnect', wait: 700 });
});

test('an unsigned no ends nothing once a login has succeeded', () => {
  expect(afterLogin(unsigned('AUTH_FAILED'), true, 0, 0).kind).toBe('stop');
  expect(afterLogin(unsigned('AUTH_FAILED'), false, 0, 0).kind).toBe('reconnect');
  expect(afterLogin(unsigned('BUSY', 900), true, 0, 0)).toEqual({ kind: 'reconnect', wait: 900 });
  expect(afterLogin(signed('SUSPENDED'), false, 0, 0).kind).toBe('stop');
  expect([0, 2, 3].map((attempt) => afterLogin(signed('REPLAY'), true, attempt, 0).kind)).toEqual([
    ...['reconnect', 'reconnect', 'stop'],
  ]);
});

test('heartbeats go on after what passes', () => {
  expect(afterHeartbeat(unsigned('BUSY'), 0)).toBeUndefined();
  expect(afterHeartbeat(signed('CLOCK_SKEW'), 0)).toBeUndefined();
  expect(afterHeartbeat(signed('SUSPENDED'), 0)?.kind).toBe('stop');
  expect(afterHeartbeat(unsigned('NOT_LOGGED_IN'), 0)?.kind).toBe('reconnect');
});
