// A gateway on a database of its own, for who looks into it; of one process where nothing else is said.
const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { MAIN } = require('./contestants/generator.js');
const { pause } = require('./processes.js');

/** Settings of the caller are left out, or the gateway might find another database. */
function environment(home, settings) {
  const others = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('M2M_') && name !== 'DATABASE_URL',
  );
  return {
    ...Object.fromEntries(others),
    M2M_DATA_DIR: home,
    M2M_LISTEN: '127.0.0.1:0',
    M2M_OPS_LISTEN: '127.0.0.1:0',
    M2M_LOG_FILE: join(home, 'log'),
    M2M_DRAIN: '0',
    M2M_WORKERS: '1',
    ...settings,
  };
}

/**
 * @param nodeArgs of Node.js itself
 * @param settings variables by name
 */
async function ownGateway(scope, nodeArgs = [], settings = {}) {
  const home = scope.folder('m2m-bench-');
  const env = environment(home, settings);
  const child = scope.start(process.execPath, [...nodeArgs, MAIN, 'serve'], { env });
  let ended = false;
  child.ended.then(() => (ended = true));
  for (;;) {
    const log = existsSync(env.M2M_LOG_FILE) ? readFileSync(env.M2M_LOG_FILE, 'utf8') : '';
    const listen = /"m2m\.listen":"([^"]+)"/.exec(log)?.[1];
    const ops = /"m2m\.ops_listen":"([^"]+)"/.exec(log)?.[1];
    if (listen !== undefined && /"gateway-started"/.test(log)) {
      const databaseUrl = (await scope.run(process.execPath, [MAIN, 'db-url'], { env })).trim();
      return { child, home, listen, ops, databaseUrl, keyFile: join(home, 'keys.json') };
    }
    if (ended) throw new Error(`the gateway did not start: ${child.said()}`);
    await pause(50);
  }
}

module.exports = { ownGateway };
