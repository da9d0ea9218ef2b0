import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder } from '../../../src/platform/store/embedded/makeFolder';

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'm2m-folder-'))));
afterEach(() => rmSync(directory, { recursive: true }));

test('makes all that is missing, for its owner only; again it is harmless', () => {
  const path = join(directory, 'a', 'b', 'c');
  makeFolder(path);
  makeFolder(path);
  expect(['a', 'a/b', 'a/b/c'].map((part) => statSync(join(directory, part)).mode & 0o777)).toEqual(
    Array(3).fill(0o700),
  );
});

test('a file in its place or above it, or a file system that takes no folders, is an error and no endless try', () => {
  const file = join(directory, 'file');
  writeFileSync(file, '');
  expect(() => makeFolder(file)).toThrow('EEXIST');
  expect(() => makeFolder(join(file, 'a', 'b'))).toThrow('ENOTDIR');
  expect(() => makeFolder('/proc/nowhere/a')).toThrow('ENOENT');
});
