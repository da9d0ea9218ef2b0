import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { followFile } from '../../../src/platform/config/followFile';
import { eventually } from '../../support/eventually';

let folder: string;
let path: string;
let held: string;
let told: string[];
let errors: unknown[];
let end: () => void;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'follow-'));
  path = join(folder, 'file');
  [held, told, errors] = ['one', [], []];
  writeFileSync(path, held);
});
afterEach(() => {
  end();
  rmSync(folder, { recursive: true });
});

const follow = () => {
  end = followFile(path, {
    read: (file) => {
      const content = readFileSync(file, 'utf8');
      if (content === 'bad') throw new Error('bad');
      return content;
    },
    isHeld: (content) => content === held,
    onContent: (content) => told.push((held = content)),
    onError: (error) => errors.push(error),
  });
};
const toldSoon = async (what: string[]) => {
  await eventually('what was written', () => told.length >= what.length);
  expect(told).toEqual(what);
};
const quiet = () => new Promise((resolve) => setTimeout(resolve, 2_500));

test('what was changed between its reading and now is told, once', async () => {
  writeFileSync(path, 'two');
  follow();
  await toldSoon(['two']);
  await quiet();
  expect([told, errors]).toEqual([['two'], []]);
});

test('what is in use is not told; each version after it is, and the same again where one between could not be read', async () => {
  follow();
  await quiet();
  expect(told).toEqual([]);
  writeFileSync(path, 'two');
  await toldSoon(['two']);
  writeFileSync(path, 'bad');
  await eventually('the error', () => errors.length === 1);
  writeFileSync(path, 'two');
  await toldSoon(['two', 'two']);
});

test('a change in the first second is told once, whichever look comes first', async () => {
  follow();
  await new Promise((resolve) => setTimeout(resolve, 300));
  writeFileSync(path, 'two');
  await toldSoon(['two']);
  await quiet();
  expect(told).toEqual(['two']);
});

test('what is written again as it was is not told', async () => {
  follow();
  await quiet();
  writeFileSync(path, held);
  await quiet();
  expect([told, errors]).toEqual([[], []]);
});

test('what went away meanwhile is told as an error', async () => {
  rmSync(path);
  follow();
  await eventually('the error', () => errors.length > 0);
  expect(errors[0]).toMatchObject({ code: 'ENOENT' });
});

test('once it is ended nothing is read any more', () => {
  jest.useFakeTimers();
  try {
    const read = jest.fn(() => 'two');
    end = followFile(path, { read, isHeld: () => false, onContent: read, onError: read });
    end();
    jest.advanceTimersByTime(10_000);
    expect(read).not.toHaveBeenCalled();
  } finally {
    jest.useRealTimers();
  }
});
