/** Which secrets a device keeps where the same change reaches it in two ways. */
import { baseKeyCandidates, withChange } from '../../src/terminal/secrets';
import { newState } from '../../src/terminal/state';
import { newTerminal } from '../support/operator';

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
