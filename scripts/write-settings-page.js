#!/usr/bin/env node
// Writes docs/settings.md. Needs a build.
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { settingsPage } = require('../dist/platform/config/settingsTable.js');

writeFileSync(join(__dirname, '..', 'docs', 'settings.md'), settingsPage());
