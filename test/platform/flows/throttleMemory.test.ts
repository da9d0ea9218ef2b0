import { Throttle } from '../../../src/platform/flows/throttle';
import { attempt } from '../../support/attempt';

const NOW = 1_800_000_000_000;

/** Of each a count that is written, and then a login that ends it. */
function logInAfterFailures(throttle: Throttle, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const [serial, source] = [`T${i}`, 'a'];
    throttle.learn([{ serial, source, failures: 1, age: 0, expiresIn: 600_000 }], throttle.era, NOW);
    attempt(throttle, serial, source, NOW, 'passed');
  }
}

test('of logins that end counts no more than 100,000 wait to be told', () => {
  const throttle = new Throttle();
  logInAfterFailures(throttle, 0, 100_010);
  expect(throttle.size).toBe(100_000);
  expect(throttle.take(1000).cleared).toHaveLength(100_000);
});

test('nor do more where telling them fails, time and again', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 3; i++) {
    logInAfterFailures(throttle, i * 60_000, (i + 1) * 60_000);
    const untold = throttle.take(1000);
    logInAfterFailures(throttle, 1_000_000 + i * 60_000, 1_000_000 + (i + 1) * 60_000);
    throttle.putBack(untold);
    expect(throttle.size).toBeLessThanOrEqual(100_000);
  }
  expect(throttle.take(1000).cleared).toHaveLength(100_000);
});

test('a million serials and a million addresses take no more memory than some', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 1_000_000; i++) {
    const [serial, source] = [`T${i}`, `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`];
    attempt(throttle, serial, source, NOW, 'failed');
    const told = { serial: `S${i}`, source: `s${i}`, failures: 20, age: 0, expiresIn: 600_000 };
    if (i % 1000 === 0) throttle.learn([told], throttle.era, NOW);
    if (i % 10_000 === 0) throttle.take(1000);
  }
  expect(throttle.size).toBeLessThanOrEqual(200_000);
  expect(throttle.take(Infinity).noted.length).toBeLessThanOrEqual(200_000);
}, 1_800_000);

test('hours of failures now and then: what has expired is not held until there is no room', () => {
  const throttle = new Throttle();
  let most = 0;
  for (let i = 0; i < 3 * 36_000; i++) {
    const now = NOW + i * 100;
    attempt(throttle, `T${i}`, `a${i}`, now, 'failed');
    most = Math.max(most, throttle.size);
  }
  // Pairs of twice ten minutes, addresses of twice one, ten a second.
  expect(most).toBeLessThanOrEqual(10 * (1_200 + 120) + 10);
});
