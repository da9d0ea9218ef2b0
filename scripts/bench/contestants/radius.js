// FreeRADIUS with PostgreSQL, both from Debian's packages: two reads (radcheck, radreply) and a durable write
// (radpostauth) for each login, by Debian's own queries and schema. Server, database and settings are in a folder that
// is gone afterwards.
const { createSocket } = require('node:dgram');
const { once } = require('node:events');
const { readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { systemUser } = require('../processes.js');
const { needed } = require('./debianPackages.js');
const { LOAD } = require('./generator.js');

const SQL = '/etc/freeradius/3.0/mods-config/sql/main/postgresql';
const OWNER = 'radius';
const SECRET = 'measured on loopback';
const PASSWORD = 'sixteen.byte.pwd';

/** As the gateway's embedded server has it (src/platform/store/embedded/cluster.ts). */
const TUNING = {
  shared_buffers: '128MB',
  fsync: 'on',
  synchronous_commit: 'on',
  min_wal_size: '80MB',
  max_wal_size: '1GB',
  wal_compression: 'on',
  jit: 'off',
};

async function startDatabase(scope, bin, user, folder) {
  const data = join(folder, 'db');
  const init = ['-D', data, '-U', OWNER, '-A', 'trust', '-E', 'UTF8', '--locale=C'];
  await scope.run(join(bin, 'initdb'), init, { user, cwd: folder });
  const settings = { listen_addresses: '', unix_socket_directories: folder, ...TUNING };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // SIGINT: it does not wait for those who are connected.
  const server = scope.start(join(bin, 'postgres'), ['-D', data, ...args], {
    user,
    cwd: folder,
    endBy: 'SIGINT',
  });
  await scope.until(server, /ready to accept connections/);
}

function psqlOf(scope, bin, folder) {
  const always = ['-h', folder, '-U', OWNER, '-d', 'postgres', '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1'];
  return async (...args) => (await scope.run(join(bin, 'psql'), [...always, ...args])).trim();
}

const rowsOf = (table, attribute, value) => `
  INSERT INTO ${table} (username, attribute, op, value)
    SELECT 'BENCH-' || lpad(i::text, 7, '0'), '${attribute}', ':=', '${value}'
    FROM generate_series(1, ${LOAD.terminals}) AS i;`;

async function fillDatabase(psql) {
  await psql('-f', join(SQL, 'schema.sql'));
  await psql(
    '-c',
    rowsOf('radcheck', 'Cleartext-Password', PASSWORD) + rowsOf('radreply', 'Session-Timeout', '86400'),
  );
  await psql('-c', 'VACUUM (ANALYZE)');
  return psql('-c', 'SHOW server_version');
}

/** The file beside this one, with its @NAMES@ filled in. */
function radiusdConf(folder, port) {
  const values = { FOLDER: folder, PORT: port, SECRET, OWNER, QUERIES: join(SQL, 'queries.conf') };
  const template = readFileSync(join(__dirname, 'radiusd.conf'), 'utf8');
  return template.replace(/@([A-Z]+)@/g, (_, name) => values[name]);
}

async function startRadius(scope, program, folder, port) {
  writeFileSync(join(folder, 'radiusd.conf'), radiusdConf(folder, port));
  const args = ['-f', '-l', 'stdout', '-d', folder, '-n', 'radiusd'];
  const server = scope.start(program, args, { user: systemUser('freerad') });
  await scope.until(server, /Ready to process requests/);
  return server;
}

async function freeUdpPort() {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}

async function run(scope, { seconds }) {
  const { bin, freeradius } = needed();
  const owner = systemUser('postgres');
  const folder = scope.folder('m2m-bench-radius-', owner);
  await startDatabase(scope, bin, owner, folder);
  const psql = psqlOf(scope, bin, folder);
  const postgres = await fillDatabase(psql);
  const port = await freeUdpPort();
  await startRadius(scope, freeradius, folder, port);
  const { terminals: users, concurrency: window, warmUp } = LOAD;
  const who = { port, secret: SECRET, password: PASSWORD, users };
  const args = Object.entries({ ...who, window, for: seconds, 'warm-up': warmUp }).flatMap(
    ([name, value]) => [`--${name}`, String(value)],
  );
  const out = await scope.run(process.execPath, [join(__dirname, 'radiusLoad.js'), ...args]);
  const { accepted, ...figures } = JSON.parse(out);
  await checkWritten(psql, accepted);
  const version = await scope.run(freeradius, ['-v']);
  return {
    ...figures,
    failed: figures.rejected + figures.forged + figures.lost,
    postgres,
    freeradius: /Version ([0-9.]+)/.exec(version)?.[1],
  };
}

/** That what was answered is in the table: otherwise it was not this that was measured. */
async function checkWritten(psql, accepted) {
  const written = Number(await psql('-c', 'SELECT count(*) FROM radpostauth'));
  if (written < accepted) throw new Error(`FreeRADIUS accepted ${accepted} logins and wrote ${written}`);
}

module.exports = { name: 'radius', connections: ['udp'], run };
