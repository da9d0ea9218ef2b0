import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Script {
  readonly flaws: (manifest: object, lock: { packages: Record<string, object> }) => string[];
  readonly isLicenceAllowed: (expression: string, allowed?: Set<string>) => boolean;
}
const ROOT = join(__dirname, '..', '..');
// eslint-disable-next-line @typescript-eslint/no-require-imports
const { flaws, isLicenceAllowed } = require('../../scripts/check-dependencies.js') as Script;

test.each([
  ['A', true],
  ['X', false],
  ['(A)', true],
  ['A OR X', true],
  ['X or B', true],
  ['A AND X', false],
  ['A AND B', true],
  ['X OR A AND B', true],
  ['A OR X AND X', true],
  ['(A OR X) AND X', false],
  ['(A OR X) AND (X OR B)', true],
  ['A WITH Classpath-exception-2.0', true],
  ['X WITH Classpath-exception-2.0', false],
  ['A WITH', false],
  ['A AND', false],
  ['(A', false],
  ['A)', false],
  ['A B', false],
  ['', false],
  ['SEE LICENSE IN LICENSE', false],
  ['UNLICENSED', false],
])('%p can be met: %p', (expression, expected) => {
  expect(isLicenceAllowed(expression, new Set(['A', 'B']))).toBe(expected);
});

const GOOD = { version: '1.0.0', license: 'MIT', integrity: `sha512-${'a'.repeat(86)}==` };

test.each([
  [{}, []],
  [{ license: 'GPL-3.0-only' }, ['x: licence GPL-3.0-only']],
  [{ license: undefined }, ['x: names no licence']],
  [{ license: 'CC-BY-4.0' }, ['x: licence CC-BY-4.0']],
  [{ license: 'CC-BY-4.0', dev: true }, []],
  [{ integrity: undefined }, ['x: has no hash']],
  [{ integrity: 'sha1-abc' }, ['x: has no hash']],
  [{ integrity: undefined, inBundle: true }, []],
  [{ hasInstallScript: true }, ['x: runs a script when it is installed']],
  [{ hasInstallScript: true, dev: true }, []],
  [{ resolved: 'git+ssh://host/x' }, ['x: comes from git+ssh://host/x']],
  [{ deprecated: 'gone' }, ['x: is deprecated: gone']],
])('a package with %j', (difference, expected) => {
  expect(flaws({}, { packages: { '': {}, 'node_modules/x': { ...GOOD, ...difference } } })).toEqual(expected);
});

test.each(['^1.0.0', '~1.0.0', '1.x', '*', 'latest', 'github:a/b', '1.0'])(
  '%p is no exact version',
  (version) => {
    for (const field of ['dependencies', 'devDependencies', 'optionalDependencies', 'overrides'])
      expect(flaws({ [field]: { x: version } }, { packages: {} })).toHaveLength(1);
  },
);

test('what stands in the lock file now', () => {
  const read = (name: string) => JSON.parse(readFileSync(join(ROOT, name), 'utf8')) as never;
  expect(flaws(read('package.json'), read('package-lock.json'))).toEqual([]);
});
