// This gateway, on a database of its own, fresh in every turn: a terminal may log in 64 times in ten minutes.
const { benchRun } = require('./generator.js');

module.exports = {
  name: 'gateway',
  connections: ['new', 'persistent'],
  run: (scope, turn) => benchRun(scope, turn, []),
};
