import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings, SettingError, unknownSettings } from '../../../src/platform/config/settings';
import { settingsPage } from '../../../src/platform/config/settingsTable';

test('docs/settings.md is what `npm run settings` writes', () => {
  const page = readFileSync(join(__dirname, '..', '..', '..', 'docs', 'settings.md'), 'utf8');
  expect(page).toBe(settingsPage());
});

test('nothing set: the defaults', () => {
  expect(readSettings({})).toMatchObject({
    databaseUrl: undefined,
    listen: { host: '0.0.0.0', port: 7750 },
    opsListen: { host: '127.0.0.1', port: 7751 },
    dataDir: '.data',
    keyFile: '.data/keys.json',
    ownKeyFile: true,
    timestampWindow: 300,
    refusalDelay: 50,
    sessionTtl: 86400,
    heartbeatInterval: 300,
    drain: 10,
    logIdentifiers: 'masked',
  });
});

test('the default key file follows the data directory; one that is named is not ours to make', () => {
  expect(readSettings({ M2M_DATA_DIR: '/var/m2m' })).toMatchObject({
    keyFile: '/var/m2m/keys.json',
    ownKeyFile: true,
  });
  expect(readSettings({ M2M_KEY_FILE: '/etc/m2m.json' })).toMatchObject({
    keyFile: '/etc/m2m.json',
    ownKeyFile: false,
  });
});

test.each([
  ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
  ['[::1]:7750', { host: '::1', port: 7750 }],
  ['gw.example:65535', { host: 'gw.example', port: 65535 }],
])('M2M_LISTEN=%s', (text, endpoint) => {
  expect(readSettings({ M2M_LISTEN: text }).listen).toEqual(endpoint);
});

test.each(['7750', 'host', ':7750', 'host:65536', '::1:7750', '[:::]:1', '[1.2.3.4]:1', 'a b:1', 'host:-1'])(
  'M2M_LISTEN=%s is refused',
  (text) => {
    expect(() => readSettings({ M2M_LISTEN: text })).toThrow(SettingError);
  },
);

test.each([
  'postgresql://m2m:p%40ss@db.example:5432/m2m',
  'postgres://m2m@[::1]/m2m?sslmode=verify-full&sslrootcert=/etc/ca.crt',
  'postgresql:///m2m?host=/run/postgresql&port=5433&user=m2m',
  'postgresql://m2m@/m2m?host=%2Frun%2Fpostgresql&port=5432',
  'postgresql://m2m@%2Frun%2Fpostgresql:5432/m2m',
  'postgresql://m2m:p%@db.example/m2m?application_name=gw&connect_timeout=3',
  'postgresql://m2m@db.example/m2m?sslmode=no-verify&uselibpqcompat=false',
])('DATABASE_URL=%s', (url) => {
  expect(readSettings({ DATABASE_URL: url }).databaseUrl).toBe(url);
});

test.each([
  'm2m',
  'host=db.example user=m2m',
  'postgresql://m2m:hidden word@db.example/m2m',
  'postgresql://m2m:hidden@db.example:54x2/m2m',
  'postgresql://m2m:hidden@db.example:99999/m2m',
  'postgresql://m2m:hidden/?#@db.example/m2m',
  'postgresql://m2m:hidden@db-1,db-2:5432/m2m',
  'postgresql://m2m:hidden@db-1:5432,db-2:5432/m2m',
  'postgresql://m2m:hidden@/m2m?host=db-1,db-2',
  'postgresql:///m2m?host=/run/postgresql&port=5432,5433',
  'postgresql:///m2m?service=production',
  'postgresql://m2m:hidden@/m2m?hostaddr=10.0.0.7',
  'postgresql://m2m:hidden@db.example/m2m?sslmode=verify_full',
])('DATABASE_URL=%s is refused, and not shown', (url) => {
  const wrong = () => readSettings({ DATABASE_URL: url });
  expect(wrong).toThrow(SettingError);
  expect(wrong).toThrow(/^DATABASE_URL holds something else; it may hold postgresql:.* with one host/);
  expect(wrong).not.toThrow(/hidden/);
});

test.each([
  'smpp://user:hidden567@smsc.example:2775',
  'smpp://sixteen-letters.:hidden@smsc.example',
  'smpp://:hidden@smsc.example',
  'smpp://user:hidden%@smsc.example',
  'ftp://user:hidden@example.com/',
])('M2M_SMS=%s is refused, and not shown', (url) => {
  const wrong = () => readSettings({ M2M_SMS: url });
  expect(wrong).toThrow(/^M2M_SMS holds something else; it may hold outbox, smpp:/);
  expect(wrong).not.toThrow(/hidden/);
});

test('an SMSC takes 15 characters of user, and 8 of password', () => {
  const url = 'smpp://fifteen-letters:hidden78@smsc.example';
  expect(readSettings({ M2M_SMS: url }).sms).toMatchObject({ user: 'fifteen-letters', password: 'hidden78' });
});

test('an empty variable counts as unset, as env files leave them', () => {
  expect(readSettings({ M2M_SESSION_TTL: '', DATABASE_URL: '' })).toMatchObject({
    sessionTtl: 86400,
    databaseUrl: undefined,
  });
});

test('a slip of the pen is found', () => {
  expect(unknownSettings({ M2M_LISTN: 'x', M2M_LISTEN: 'x', PATH: 'x' })).toEqual(['M2M_LISTN']);
});

test('the PROXY protocol is off unless it is set, and nobody is trusted', () => {
  expect(readSettings({})).toMatchObject({ proxyProtocol: 'off', proxyTrusted: [] });
  const trusted = { M2M_PROXY_TRUSTED: '10.0.0.0/24,2001:db8::1' };
  expect(readSettings(trusted)).toMatchObject({ proxyProtocol: 'off' });
  expect(readSettings({ ...trusted, M2M_PROXY_PROTOCOL: 'v2' })).toMatchObject({
    proxyProtocol: 'v2',
    proxyTrusted: [
      { bits: 32, prefix: 24 },
      { bits: 128, prefix: 128 },
    ],
  });
});

test.each([
  [{ M2M_PROXY_PROTOCOL: 'v1' }, /^M2M_PROXY_PROTOCOL holds "v1"; it may hold off, v2$/],
  [{ M2M_PROXY_TRUSTED: '10.0.0.1/8' }, /^M2M_PROXY_TRUSTED holds "10\.0\.0\.1\/8"; it may hold CIDRs/],
  [
    { M2M_PROXY_PROTOCOL: 'v2' },
    /^M2M_PROXY_TRUSTED holds nothing.* nobody could connect; it may hold CIDRs/,
  ],
  [{ M2M_PROXY_PROTOCOL: 'v2', M2M_PROXY_TRUSTED: '' }, /^M2M_PROXY_TRUSTED holds nothing/],
])('%j is refused', (environment, says) => {
  expect(() => readSettings(environment)).toThrow(SettingError);
  expect(() => readSettings(environment)).toThrow(says);
});

test.each([
  [
    { M2M_OPS_LISTEN: '0.0.0.0:7750' },
    'M2M_OPS_LISTEN holds "0.0.0.0:7750", which M2M_LISTEN ("0.0.0.0:7750") takes',
  ],
  [{ M2M_OPS_LISTEN: '127.0.0.1:7750' }, 'M2M_OPS_LISTEN holds "127.0.0.1:7750", which M2M_LISTEN'],
  [{ M2M_TLS_LISTEN: '[::]:7750' }, 'M2M_TLS_LISTEN holds "[::]:7750", which M2M_LISTEN'],
  [{ M2M_TLS_LISTEN: '0.0.0.0:7751' }, 'M2M_TLS_LISTEN holds "0.0.0.0:7751", which M2M_OPS_LISTEN'],
])('two ports that are one: %j', (environment, message) => {
  expect(() => readSettings(environment)).toThrow(message);
});

test.each([
  { M2M_LISTEN: '127.0.0.1:0', M2M_OPS_LISTEN: '127.0.0.1:0', M2M_TLS_LISTEN: '127.0.0.1:0' },
  { M2M_LISTEN: '127.0.0.1:80', M2M_OPS_LISTEN: '127.0.0.2:80', M2M_TLS_LISTEN: '[::1]:80' },
  { M2M_LISTEN: '0.0.0.0:80', M2M_OPS_LISTEN: '[::1]:80' },
])('ports that are apart: %j', (environment) => {
  expect(() => readSettings(environment)).not.toThrow();
});
