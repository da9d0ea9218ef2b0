import { Throttle } from '../../../src/platform/flows/throttle';

const NOW = 1_800_000_000_000;

test('a million serials and a million addresses take no more memory than some', () => {
  const throttle = new Throttle();
  for (let i = 0; i < 1_000_000; i++) {
    const [serial, source] = [`T${i}`, `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`];
    if (throttle.enter(serial, source, NOW) === 0) throttle.leave(serial, source, 'failed', NOW);
    const told = { serial: `S${i}`, source: `s${i}`, failures: 20, age: 0, expiresIn: 600_000 };
    if (i % 1000 === 0) throttle.learn([told], throttle.era, NOW);
    if (i % 10_000 === 0) throttle.take(1000);
  }
  expect(throttle.size).toBeLessThanOrEqual(200_000);
  expect(throttle.take(Infinity).noted.length).toBeLessThanOrEqual(200_000);
}, 1_800_000);
