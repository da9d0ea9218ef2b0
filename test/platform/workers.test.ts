import { elsewhereOf } from '../../src/platform/workers/elsewhere';

test('each is told the sum of the others', () => {
  const all = [
    { connections: 5, newcomers: [['a', 3], ['b', 2]] as const },
    { connections: 7, newcomers: [['a', 4]] as const },
    { connections: 0, newcomers: [] },
  ]; // prettier-ignore
  expect(elsewhereOf(all)).toEqual([
    { connections: 7, newcomers: [['a', 4]] },
    { connections: 5, newcomers: [['a', 3], ['b', 2]] },
    { connections: 12, newcomers: [['a', 7], ['b', 2]] },
  ]); // prettier-ignore
});
