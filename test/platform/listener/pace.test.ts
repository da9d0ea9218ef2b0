import { Pace } from '../../../src/platform/listener/pace';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** @returns what was done in each turn of the event loop: first in the turn in which it came */
async function doneInTurns(pace: Pace, pieces: number): Promise<number[][]> {
  const turns: number[][] = [[]];
  for (let i = 0; i < pieces; i++) pace.take(() => turns.at(-1)!.push(i));
  while (turns.flat().length < pieces) {
    turns.push([]);
    await turn();
  }
  return turns;
}

test('what finds room is done at once, the rest in later turns, and all of it in order', async () => {
  const pace = new Pace(3);
  expect(await doneInTurns(pace, 8)).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ]);
});

test('each turn has room of its own', async () => {
  const pace = new Pace(2);
  for (let i = 0; i < 3; i++) {
    expect(await doneInTurns(pace, 2)).toEqual([[0, 1]]);
    await turn();
  }
});

test('what comes while others wait goes behind them, also where it comes from one of them', async () => {
  const pace = new Pace(1);
  const done: string[] = [];
  pace.take(() => done.push('a'));
  pace.take(() => {
    done.push('b');
    pace.take(() => done.push('d'));
  });
  pace.take(() => done.push('c'));
  for (let i = 0; i < 5; i++) await turn();
  expect(done).toEqual(['a', 'b', 'c', 'd']);
});
