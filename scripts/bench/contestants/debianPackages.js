// Programs from Debian's packages: found, or installed where we are root.
const { execFileSync } = require('node:child_process');
const { existsSync, readdirSync, rmSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

const PACKAGES = ['freeradius', 'freeradius-postgresql', 'postgresql'];
const FREERADIUS = '/usr/sbin/freeradius';
const SQL_DRIVER = '/usr/lib/freeradius/rlm_sql_postgresql.so';
const POSTGRES = '/usr/lib/postgresql';
/** What Debian's packages ask before they start a service (invoke-rc.d(8)); 101: not now. */
const POLICY = '/usr/sbin/policy-rc.d';

/** @returns paths of what is there; undefined where something is missing */
function found() {
  const versions = existsSync(POSTGRES) ? readdirSync(POSTGRES).sort((a, b) => Number(b) - Number(a)) : [];
  const bin = versions
    .map((version) => join(POSTGRES, version, 'bin'))
    .find((dir) => existsSync(join(dir, 'initdb')));
  if (bin === undefined || !existsSync(FREERADIUS) || !existsSync(SQL_DRIVER)) return undefined;
  return { bin, freeradius: FREERADIUS };
}

function needed() {
  const there = found();
  if (there === undefined) throw new Error(`not installed: apt-get install ${PACKAGES.join(' ')}`);
  return there;
}

/** Installs what is missing, and keeps Debian from starting it: it would listen to the network. */
function install() {
  if (found() !== undefined || process.getuid() !== 0) return void needed();
  const ownPolicy = !existsSync(POLICY);
  if (ownPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const apt = (...args) =>
      execFileSync('apt-get', ['-qq', '-y', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    apt('update');
    apt('install', '--no-install-recommends', ...PACKAGES);
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true });
  }
  needed();
}

module.exports = { install, needed };
