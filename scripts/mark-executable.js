#!/usr/bin/env node
// tsc writes files without the run bit; `npx m2m` needs it on the bin.
const { chmodSync } = require('node:fs');
const { join } = require('node:path');

chmodSync(join(__dirname, '..', 'dist', 'cli', 'main.js'), 0o755);
