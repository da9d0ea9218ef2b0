/** Which secrets a device keeps, and which it tries. */
import {
  baseKeyCandidates,
  fits,
  uplinkCandidates,
  withChange,
  withoutChange,
} from '../../src/terminal/secrets';
import { newState, NO_SPARES, type DeviceChange, type DeviceState } from '../../src/terminal/state';
import { TERMINAL } from '../support/fakeGateway';
import { newTerminal } from '../support/operator';

const device: DeviceState = { ...TERMINAL, suite: 2, nextSequence: 0, clockOffset: 0, spares: NO_SPARES };
const fresh = (n: number) => Buffer.alloc(16, n);
const change = (extra: Partial<DeviceChange>): DeviceChange => ({
  ...{ id: 1, targets: 1, bySms: false, confirming: false, uplinkPassword: fresh(1) },
  ...extra,
});

test.each<[string, Partial<DeviceChange>, boolean]>([
  ['as ciphertext', {}, true],
  ['by a text', { bySms: true }, false],
  ['by a text, and being confirmed', { bySms: true, confirming: true }, true],
])('values that came %s', (_, extra, areTried) => {
  const state = { ...device, change: change(extra) };
  const current = [device.uplinkPassword];
  expect(uplinkCandidates(state)).toEqual(areTried ? [fresh(1), ...current] : current);
  // What the platform cannot hold is forgotten with the change.
  expect(uplinkCandidates(withoutChange(state))).toEqual(areTried ? [...current, fresh(1)] : current);
});

test('of changes that were given up the latest four are tried', () => {
  let state = device;
  for (let n = 1; n <= 6; n++)
    state = withoutChange({ ...state, change: change({ id: n, uplinkPassword: fresh(n) }) });
  expect(uplinkCandidates(state)).toEqual([device.uplinkPassword, ...[6, 5, 4, 3].map(fresh)]);
});

test('a new base key is as long as the one that it replaces, and only what was announced may come', () => {
  const baseKey = (size: number) => ({ baseKey: Buffer.alloc(size) });
  const size = TERMINAL.baseKey.length;
  expect(fits(baseKey(size), { targets: 4 }, device)).toBe(true);
  expect(fits(baseKey(size === 16 ? 32 : 16), { targets: 4 }, device)).toBe(false);
  expect(fits(baseKey(size), { targets: 5 }, device)).toBe(false);
  expect(fits({ ...baseKey(size), uplinkPassword: fresh(1) }, { targets: 4 }, device)).toBe(false);
});

const NEW_KEY = Buffer.alloc(16, 7);
const CHANGE = { id: 3, targets: 4 };

function stateAfter(...bySms: boolean[]) {
  const { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey } = newTerminal();
  const device = { serial, imei, imsi, uplinkPassword, downlinkPassword, baseKey, suite: 2 as const };
  return bySms.reduce(
    (state, one) => withChange(state, { ...CHANGE, bySms: one }, { baseKey: NEW_KEY }),
    newState(device, 1),
  );
}

test.each([
  ['a text alone', [true], false],
  ['ciphertext alone', [false], true],
  // A request that showed the new key may have settled it, and got no answer, before the text was asked for.
  ['ciphertext, then a text', [false, true], true],
  ['a text, then ciphertext', [true, false], true],
])('%s: the new value may be the current one on the platform', (_name, ways, may) => {
  const state = stateAfter(...ways);
  expect(baseKeyCandidates(state).some((key) => key.equals(NEW_KEY))).toBe(may);
  // Another change that comes takes nothing from the device that the platform may hold.
  const next = withChange(state, { id: 4, targets: 1, bySms: true }, { uplinkPassword: Buffer.alloc(16) });
  expect(baseKeyCandidates(next).some((key) => key.equals(NEW_KEY))).toBe(may);
});
