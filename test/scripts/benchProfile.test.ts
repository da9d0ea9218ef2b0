/** What scripts/bench/profile reads out of a profile of V8. */
import { createRequire } from 'node:module';

interface Node {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}
interface Profile {
  readonly nodes: readonly Node[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const { summary } = createRequire(__filename)('../../scripts/bench/cpuProfile.js') as {
  readonly summary: (
    profile: Profile,
    from?: number,
    until?: number,
  ) => {
    readonly busy: number;
    readonly idle: number;
    readonly functions: readonly (readonly [string, number])[];
    readonly askers: readonly (readonly [string, number])[];
  };
};

const node = (id: number, functionName: string, url: string, children: number[] = []): Node => ({
  id,
  callFrame: { functionName, url, lineNumber: url === '' ? -1 : 9 },
  children,
});

const profile: Profile = {
  nodes: [
    node(1, '(root)', '', [2, 3, 6]),
    node(2, '(idle)', ''),
    node(3, 'seal', 'file:///x/dist/crypto/sealing.js', [4]),
    node(4, 'Hmac', 'node:internal/crypto/hash', [5]),
    node(5, 'query', '/x/node_modules/@scope/pg/lib/client.js'),
    node(6, 'writev', ''),
  ],
  startTime: 1000,
  samples: [2, 3, 4, 5, 6, 2],
  timeDeltas: [10, 20, 30, 40, 50, 60],
};

test('time is of who was on top, and of the part of the gateway that asked for it', () => {
  expect(summary(profile)).toEqual({
    busy: 140,
    idle: 70,
    functions: [
      ['writev  writev', 50],
      ['query  @scope/pg:10', 40],
      ['Hmac  node:internal/crypto/hash:10', 30],
      ['seal  crypto/sealing.js:10', 20],
    ],
    askers: [
      ['crypto/sealing.js', 90],
      ['writev (below no part of the gateway)', 50],
    ],
  });
});

test('what lies outside the measurement is left out', () => {
  // Samples end at 1010, 1030, 1060, 1100, 1150 and 1210.
  const { busy, idle } = summary(profile, 1030, 1150);
  expect([busy, idle]).toEqual([90, 0]);
});
