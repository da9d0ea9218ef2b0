/** Soaks and cuts that take longer than a daily run allows. */
const base = require('./jest.config.js');

/** @type {import('jest').Config} */
module.exports = {
  ...base,
  testMatch: ['<rootDir>/test/long/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 1800000,
  // Attacks are measured, and cuts are hard on the disk: each has the machine to itself.
  maxWorkers: 1,
};
