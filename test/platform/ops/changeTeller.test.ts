/** What the log tells of changes made in SQL. */
import { changeTeller } from '../../../src/platform/ops/changeTeller';
import type { LogAction, LogFacts } from '../../../src/platform/ops/log';
import type { Change } from '../../../src/platform/store/changeFeed';

let told: (readonly [LogAction, LogFacts])[];
const tell = (...changes: Change[]) =>
  changeTeller({ event: (action, facts) => void told.push([action, facts]) })(changes);
const change = (serial: string, action: string, extra: Partial<Change> = {}): Change => ({
  ...{ terminalId: 1, serial, action, targeted: false, ...extra },
});

beforeEach(() => (told = []));

test('each change by what it is; one that is for a single gateway is no operator’s', () => {
  tell(
    change('T1', 'terminal-provisioned'),
    change('T2', 'suspend_terminal'),
    change('T3', 'session-superseded', { targeted: true }),
    change('T4', 'lift_throttle', { address: '192.0.2.0/24' }),
    change('', 'lift_throttle', { address: '192.0.2.1/32' }),
    change('T5', 'lift_throttle'),
  );
  expect(told).toEqual([
    ['terminal-provisioned', { message: 'T1 provisioned', serial: 'T1' }],
    [
      'terminal-changed',
      { message: 'T2 changed: suspend_terminal', detail: 'suspend_terminal', serial: 'T2' },
    ],
    ['throttle-lifted', { message: 'failed attempts of T4 from 192.0.2.0/24 are forgotten', serial: 'T4' }],
    ['throttle-lifted', { message: 'failed attempts of all serials from 192.0.2.1/32 are forgotten' }],
    ['throttle-lifted', { message: 'failed attempts of T5 from everywhere are forgotten', serial: 'T5' }],
  ]);
});

test.each([
  [100, 100],
  [101, 1],
])('%i at once: %i lines', (changes, lines) => {
  tell(
    ...Array.from({ length: changes }, (_, n) => change(`T${n}`, 'terminal-provisioned')),
    change('T', 'session-superseded', { targeted: true }),
  );
  expect(told).toHaveLength(lines);
  if (lines === 1)
    expect(told[0]).toEqual(['terminal-changed', { message: '101 terminals changed in SQL', count: 101 }]);
});
