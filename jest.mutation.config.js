/**
 * What mutation testing runs: unit tests that need no database, so that a mutant costs a second and not a server.
 * MUTATION_TESTS names files or folders of test/, separated by commas: every mutant loads all of them.
 */
const base = require('./jest.config.js');

const named = (process.env.MUTATION_TESTS ?? 'protocol,crypto,platform/flows').split(',');

/** @type {import('jest').Config} */
module.exports = {
  ...base,
  globalSetup: undefined,
  globalTeardown: undefined,
  testMatch: named.flatMap((name) => [
    `<rootDir>/test/${name}.test.ts`,
    `<rootDir>/test/${name}/**/*.test.ts`,
  ]),
  // For every mutant, 120,000 frames would find nothing that the vectors do not, and a million serials take too long.
  testPathIgnorePatterns: ['/node_modules/', 'everyBit', 'throttleMemory'],
  setupFilesAfterEnv: [...base.setupFilesAfterEnv, '<rootDir>/test/support/noShrinking.ts'],
  testTimeout: 60000,
  maxWorkers: 1,
};
