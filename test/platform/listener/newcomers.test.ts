import { Newcomers } from '../../../src/platform/listener/newcomers';

test('so many of one source, and as many of another', () => {
  const newcomers = new Newcomers(2);
  const [first, second, third] = [newcomers.enter('a'), newcomers.enter('a'), newcomers.enter('a')];
  expect([first, second, third].map((one) => one !== undefined)).toEqual([true, true, false]);
  expect(newcomers.enter('b')).toBeDefined();
  first!();
  expect(newcomers.enter('a')).toBeDefined();
});

test('who has logged in and goes later leaves once', () => {
  const newcomers = new Newcomers(2);
  const [first] = [newcomers.enter('a'), newcomers.enter('a')];
  first!();
  first!();
  expect(newcomers.enter('a')).toBeDefined();
  expect(newcomers.enter('a')).toBeUndefined();
});

test('nothing is kept of sources that have none', () => {
  const newcomers = new Newcomers(2);
  for (let i = 0; i < 1_000_000; i++) newcomers.enter(`s${i}`)!();
  expect(newcomers.size).toBe(0);
});

test('those of other processes count, and crowds are told', () => {
  const newcomers = new Newcomers(100, (source) => (source === 'a' ? 97 : 0));
  for (const source of ['a', 'a', 'a', 'b', 'b', 'b', 'b']) expect(newcomers.enter(source)).toBeDefined();
  expect(newcomers.enter('a')).toBeUndefined();
  expect(newcomers.crowds()).toEqual([['b', 4]]);
});

test('of many crowds some are told', () => {
  const newcomers = new Newcomers(1);
  for (let i = 0; i < 10_000; i++) newcomers.enter(`s${i}`);
  expect(newcomers.crowds()).toHaveLength(256);
});
