import fc from 'fast-check';
import {
  judgeReplay,
  LOGINS_KEPT,
  replayCutoff,
  replayEntry,
  roomAfter,
  unrememberedEntry,
} from '../../../src/platform/flows/replay';

const WINDOW = 300;
const NOW = 1_800_000_000_000;

const digest = (n: number) => Buffer.alloc(16, n);
const secondsAgo = (seconds: number, n = 1) => replayEntry(NOW / 1000 - seconds, digest(n));

test('an entry is a UUID text that follows from the frame alone and sorts by time', () => {
  const entry = replayEntry(0x6b49d207, Buffer.from('106b4021db8bf661eae551127e016238', 'hex'));
  expect(entry).toBe('6b49d207-106b-4021-db8b-f661eae55112');
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.integer({ min: 0, max: 0xffffffff }),
      (one, other) => {
        const compared = replayEntry(one, digest(255)) < replayEntry(other, digest(0));
        expect(compared).toBe(one < other);
      },
    ),
  );
});

test('what was taken is taken, whatever its age; what is new is new', () => {
  const cutoff = replayCutoff(NOW, WINDOW);
  const taken = [secondsAgo(0), secondsAgo(WINDOW * 2)];
  expect(judgeReplay(taken, secondsAgo(0), cutoff, LOGINS_KEPT)).toBe('taken');
  expect(judgeReplay(taken, secondsAgo(WINDOW * 2), cutoff, LOGINS_KEPT)).toBe('taken');
  expect(judgeReplay(taken, secondsAgo(0, 2), cutoff, LOGINS_KEPT)).toBe('new');
});

test('an entry is kept for as long as its frame could be accepted', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -WINDOW, max: WINDOW }),
      fc.integer({ min: 1, max: 2000 }),
      (offset, window) => {
        const accepted = Math.abs(offset) <= window;
        if (accepted) expect(secondsAgo(offset) >= replayCutoff(NOW, window)).toBe(true);
      },
    ),
  );
  // Implicit timestamps are good until two minutes behind their step, also where the window is shorter.
  expect(secondsAgo(120) >= replayCutoff(NOW, 1)).toBe(true);
});

test('the bound counts what is kept, and tells when there is room again', () => {
  const cutoff = replayCutoff(NOW, WINDOW);
  const old = Array.from({ length: 100 }, (_, n) => secondsAgo(1000, n));
  const recent = Array.from({ length: LOGINS_KEPT }, (_, n) => secondsAgo(n, n));
  expect(judgeReplay([...old, ...recent.slice(1)], secondsAgo(0, 99), cutoff, LOGINS_KEPT)).toBe('new');
  expect(judgeReplay(recent, secondsAgo(0, 99), cutoff, LOGINS_KEPT)).toBe('full');
  const wait = roomAfter(recent, NOW, WINDOW);
  expect(judgeReplay(recent, secondsAgo(0, 99), replayCutoff(NOW + wait, WINDOW), LOGINS_KEPT)).toBe('new');
  expect(judgeReplay(recent, secondsAgo(0, 99), replayCutoff(NOW + wait - 2000, WINDOW), LOGINS_KEPT)).toBe(
    'full',
  );
});

test('an entry is kept half a minute longer than its frame is good, and not a second more', () => {
  for (const [window, kept] of [
    [300, 330],
    [120, 150],
    [121, 151],
    [1, 150],
  ] as const) {
    const cutoff = replayCutoff(NOW, window);
    expect(replayEntry(NOW / 1000 - kept, Buffer.alloc(16)) >= cutoff).toBe(true);
    expect(replayEntry(NOW / 1000 - kept - 1, digest(255)) >= cutoff).toBe(false);
    expect(replayCutoff(NOW + 999, window)).toBe(cutoff);
  }
  expect(replayCutoff(1000, WINDOW)).toBe('00000000-0000-0000-0000-000000000000');
});

test('room after: the second in which the oldest goes, one second at least, none where nothing is kept', () => {
  expect(roomAfter([secondsAgo(10), secondsAgo(20), secondsAgo(331)], NOW, WINDOW)).toBe(311_000);
  expect(roomAfter([secondsAgo(330)], NOW + 500, WINDOW)).toBe(1000);
  expect(roomAfter([secondsAgo(400)], NOW, WINDOW)).toBe(0);
});

test('an entry that is not to be remembered is unlike any other, and older than what is kept', () => {
  const drawn = [Buffer.alloc(12, 1), Buffer.alloc(12, 2)];
  const entries = [0, 1].map(() => unrememberedEntry((size) => drawn.shift()!.subarray(0, size)));
  expect(entries).toEqual(['00000000-0101-0101-0101-010101010101', '00000000-0202-0202-0202-020202020202']);
  expect(entries[1]! < replayCutoff(NOW, WINDOW)).toBe(true);
});
