// The bare server (bareServer.js), in a process of its own.
const { join } = require('node:path');
const { benchRun } = require('./generator.js');

function bare(name, args) {
  return {
    name,
    connections: ['new', 'persistent'],
    async run(scope, turn) {
      const server = scope.start(process.execPath, [join(__dirname, 'bareServer.js'), ...args]);
      const [, where] = await scope.until(server, /^(\S+)\n/);
      const figures = await benchRun(scope, turn, ['--connect', where, '--echo']);
      await scope.end(server);
      return figures;
    },
  };
}

module.exports = { bare: bare('bare', []), bareBatched: bare('bare-batched', ['--batched']) };
