/** Loaded into a gateway before its own code (NODE_OPTIONS=--require): at SIGUSR2 it collects its garbage. */
'use strict';
const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
process.on('SIGUSR2', () => collect());
