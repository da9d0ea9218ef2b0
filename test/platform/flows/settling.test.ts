/** What a login under pending values does to them, by dialect. */
import { settle, settleAtOnce, settleLater } from '../../../src/platform/flows/credentials';
import { NO_CHANGES, type PendingChange, type Shown, type TerminalRecord } from '../../../src/platform/model';

const UPLINK = 1;
const BASE_KEY = 4;

const recordWith = (pending: Partial<PendingChange>): TerminalRecord => ({
  id: 1,
  serial: 'T-1',
  imei: '868123000000019',
  imsi: '460001234567890',
  status: 'active',
  leastLogin: 'wmmp3',
  uplinkPassword: Buffer.from('old'),
  downlinkPassword: Buffer.from('down'),
  baseKey: Buffer.alloc(24, 1),
  changes: {
    ...NO_CHANGES,
    lastId: 7,
    pending: {
      id: 7,
      targets: UPLINK | BASE_KEY,
      settled: 0,
      bySms: false,
      shown: 'never',
      textAt: undefined,
      uplinkPassword: Buffer.from('new'),
      downlinkPassword: undefined,
      baseKey: Buffer.alloc(24, 2),
      ...pending,
    },
  },
  msisdn: undefined,
  packetsRevokedAt: 0,
  revision: 5,
});

const shownBy = (record: TerminalRecord | undefined) => record?.changes.pending?.shown;

test('version 4.0 settles at once, and what is left pending was shown to nobody', () => {
  const { write, unsettled } = settleAtOnce(recordWith({}), BASE_KEY);
  expect([write?.settled, unsettled, shownBy(write?.record)]).toEqual([BASE_KEY, 0, 'never']);
});

test('WMMP: the first login marks, the second settles, one under the current values begins anew', () => {
  const first = settleLater(recordWith({}), UPLINK, false);
  expect([first.write?.settled, first.unsettled, shownBy(first.write?.record)]).toEqual([
    0,
    UPLINK,
    'latest',
  ]);
  expect(first.write?.record).toMatchObject({ revision: 6 });
  expect(first.write?.record.uplinkPassword.toString()).toBe('old');
  const second = settleLater(recordWith({ shown: 'latest' }), UPLINK, false);
  expect([second.write?.settled, second.unsettled]).toEqual([UPLINK, 0]);
  expect(second.write?.record.uplinkPassword.toString()).toBe('new');
  const back = settleLater(recordWith({ shown: 'latest' }), 0, false);
  expect([back.write?.settled, back.unsettled, shownBy(back.write?.record)]).toEqual([0, 0, 'earlier']);
  expect(settleLater(recordWith({ shown: 'earlier' }), 0, false)).toEqual({ write: undefined, unsettled: 0 });
});

test('WMMP: the same frame again, whose first coming got no answer, is not the second login', () => {
  expect(settleLater(recordWith({ shown: 'latest' }), UPLINK, true)).toEqual({
    write: undefined,
    unsettled: UPLINK,
  });
  const lost = settleLater(recordWith({}), UPLINK, true);
  expect([lost.write?.settled, lost.unsettled, shownBy(lost.write?.record)]).toEqual([0, UPLINK, 'latest']);
});

test.each<[Shown, Shown]>([
  ['never', 'never'],
  ['latest', 'earlier'],
  ['earlier', 'earlier'],
])('what remains of a change that was shown %s counts as shown %s', (before, after) => {
  expect(shownBy(settle(recordWith({ shown: before }), UPLINK)?.record)).toBe(after);
});
