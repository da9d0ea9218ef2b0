import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTokenFile, tokenIndex } from '../../../src/platform/ops/tokenFile';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'tokens-'))));
afterEach(() => rmSync(folder, { recursive: true }));

function file(content: string, mode = 0o600): string {
  const path = join(folder, 'tokens');
  writeFileSync(path, content, { mode });
  return path;
}

test('one token a line; comments and empty lines do not count', () => {
  const tokens = readTokenFile(file('# data server 1\nabcdefghijklmnop\n\n  ABCDEFGHIJKLMNOP==  \r\n'));
  expect(tokens).toHaveLength(2);
  expect(tokenIndex(tokens, 'abcdefghijklmnop')).toBe(0);
  expect(tokenIndex(tokens, 'ABCDEFGHIJKLMNOP==')).toBe(1);
  expect(tokenIndex(tokens, 'abcdefghijklmnoq')).toBeUndefined();
  expect(tokenIndex(tokens, '')).toBeUndefined();
  expect(tokenIndex(readTokenFile(file('s\n')), 's')).toBe(0);
});

test.each([
  [
    'what is no token, without showing it',
    'abcdefghijklmnop\nshort-secret two\n',
    0o600,
    /tokens, line 2: a token has 1 to 256/,
  ],
  ['nothing in it', '# nobody\n', 0o600, /holds no token/],
  ['readable by others', 'abcdefghijklmnop\n', 0o640, /others may read it; chmod 600/],
])('%s', (_, content, mode, says) => {
  const path = file(content, mode);
  expect(() => readTokenFile(path)).toThrow(says);
  expect(() => readTokenFile(path)).not.toThrow(/short-secret/);
});

test('a file that is not there', () => {
  expect(() => readTokenFile(join(folder, 'none'))).toThrow(/none: ENOENT/);
});
