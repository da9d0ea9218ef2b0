import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings } from '../../src/platform/config/settings';

const FILE = join(__dirname, '..', '..', 'scripts', 'packaging', 'm2m-gateway.service');

/** Section and name to value. */
function settingsOf(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('[')) section = line;
    const [name, ...value] = line.split('=');
    if (!line.startsWith('#') && value.length > 0) found.set(`${section}${name}`, value.join('='));
  }
  return found;
}

const unit = settingsOf(readFileSync(FILE, 'utf8'));
const { drain, maxConnections } = readSettings({});

test('a gateway that ends with 1 is started again however often, one with wrong settings never', () => {
  expect(unit.get('[Unit]StartLimitIntervalSec')).toBe('0');
  expect(unit.get('[Service]Restart')).toBe('on-failure');
  expect(unit.get('[Service]RestartPreventExitStatus')).toBe('2');
});

test('it leaves room for the default of connections, and time for the default of the drain', () => {
  expect(Number(unit.get('[Service]LimitNOFILE'))).toBeGreaterThan(maxConnections);
  expect(Number(unit.get('[Service]TimeoutStopSec'))).toBeGreaterThan(drain);
});
