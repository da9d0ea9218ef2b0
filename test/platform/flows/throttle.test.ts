import { Throttle } from '../../../src/platform/flows/throttle';

const NOW = 1_800_000_000_000;

function failures(throttle: Throttle, times: number, serial: string, address: string, now = NOW): void {
  for (let i = 0; i < times; i++) throttle.failed(serial, address, now);
}

test('the first failures are free, then the delay doubles up to 60 s, and one frame is judged after each', () => {
  const throttle = new Throttle();
  failures(throttle, 9, 'T1', 'a');
  expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  let now = NOW;
  const delays = Array.from({ length: 9 }, () => {
    throttle.failed('T1', 'a', now);
    const delay = throttle.delay('T1', 'a', now);
    expect(throttle.delay('T1', 'a', now + delay)).toBe(0);
    now += delay;
    return delay;
  });
  expect(delays).toEqual([1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
});

test('another address, another serial are not concerned', () => {
  const throttle = new Throttle();
  failures(throttle, 20, 'T1', 'a');
  expect(throttle.delay('T1', 'b', NOW)).toBe(0);
  expect(throttle.delay('T2', 'a', NOW)).toBe(0);
});

test('a success and time wipe the count', () => {
  const throttle = new Throttle();
  failures(throttle, 20, 'T1', 'a');
  throttle.succeeded('T1', 'a');
  expect(throttle.delay('T1', 'a', NOW)).toBe(0);
  failures(throttle, 9, 'T1', 'a');
  failures(throttle, 9, 'T1', 'a', NOW + 3_600_000);
  expect(throttle.delay('T1', 'a', NOW + 3_600_000)).toBe(0);
});

test('an address may fail a thousand times a minute before it is slowed down as a whole', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 1000; i++) throttle.failed(`T${i}`, 'nat', NOW);
  expect(throttle.delay('other', 'nat', NOW)).toBe(0);
  throttle.failed('T1000', 'nat', NOW);
  expect(throttle.delay('other', 'nat', NOW)).toBe(1000);
  expect(throttle.delay('other', 'nat', NOW + 1000)).toBe(0);
});
