import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const LIMITS = {
  complexity: ['error', 15],
  eqeqeq: 'error',
  'max-lines': ['error', { max: 400, skipBlankLines: false, skipComments: false }],
  'max-lines-per-function': ['error', { max: 60, skipComments: true }],
};

/** What scripts use of Node.js without asking for it. */
const GLOBALS = [
  ...['require', 'module', '__dirname', '__filename', 'process', 'console', 'performance'],
  ...['Buffer', 'URL', 'AbortController', 'fetch'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate'],
];

export default tseslint.config(
  { ignores: ['dist', 'coverage', '.data', 'reports'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: tseslint.configs.recommendedTypeChecked,
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      ...LIMITS,
      'no-console': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  {
    files: ['**/*.js', '**/*.cjs', 'scripts/bench/{compare,growth,profile,storm}'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: Object.fromEntries(GLOBALS.map((name) => [name, 'readonly'])),
    },
    rules: { ...LIMITS, 'no-unused-vars': ['error', { argsIgnorePattern: '^_' }] },
  },
  {
    // A test file is one long describe(); its length says nothing about its design.
    files: ['test/**/*.ts'],
    rules: { 'max-lines-per-function': 'off', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
);
