import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { followFile } from '../../../src/platform/config/followFile';
import { eventually } from '../../support/eventually';

const directory = mkdtempSync(join(tmpdir(), 'm2m-follow-'));
const file = join(directory, 'file');
const read = (path: string): string => readFileSync(path, 'utf8');
const ends: (() => void)[] = [];

afterEach(() => ends.splice(0).forEach((end) => end()));
afterAll(() => rmSync(directory, { recursive: true }));

function follow(held: string): { contents: string[]; errors: unknown[] } {
  const heard = { contents: [] as string[], errors: [] as unknown[] };
  ends.push(
    followFile(
      file,
      read,
      (content) => content === held,
      (content) => heard.contents.push(content),
      (error) => heard.errors.push(error),
    ),
  );
  return heard;
}

test('what changed between being read and being followed is told', () => {
  writeFileSync(file, 'new');
  expect(follow('old')).toEqual({ contents: ['new'], errors: [] });
});

test('what went away meanwhile is told', () => {
  rmSync(file);
  expect(follow('old').errors).toMatchObject([{ code: 'ENOENT' }]);
});

test('what is known is not told; each change from then on is', async () => {
  writeFileSync(file, 'old');
  const { contents, errors } = follow('old');
  expect(contents).toEqual([]);
  await eventually('the change is told', () => {
    // Written until it is seen: the first look at the file takes its time.
    writeFileSync(file, 'newer');
    return Promise.resolve(contents.includes('newer'));
  });
  expect(errors).toEqual([]);
});
