/**
 * Loaded into a gateway before its own code (NODE_OPTIONS=--require): a machine's clock that somebody sets. At SIGUSR2
 * the process's Date is as many milliseconds off as the file of TEST_CLOCK_OFFSET says; timers and the monotonic clock
 * go on, as they do when a clock is set.
 */
'use strict';
const { readFileSync } = require('node:fs');

const Genuine = Date;
let offset = 0;

globalThis.Date = class extends Genuine {
  constructor(...parts) {
    if (parts.length === 0) super(Genuine.now() + offset);
    else super(...parts);
  }
  static now() {
    return Genuine.now() + offset;
  }
};

process.on('SIGUSR2', () => {
  offset = Number(readFileSync(process.env.TEST_CLOCK_OFFSET, 'utf8'));
});
