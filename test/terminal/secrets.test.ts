/** Which secrets a device tries. */
import { fits, uplinkCandidates, withoutChange } from '../../src/terminal/secrets';
import { NO_SPARES, type DeviceChange, type DeviceState } from '../../src/terminal/state';
import { TERMINAL } from '../support/fakeGateway';

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
