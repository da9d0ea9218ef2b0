import { listenFailure } from '../../src/cli/listenFailure';
import { readSettings } from '../../src/platform/config/settings';

const settings = readSettings({
  M2M_LISTEN: '203.0.113.1:7750',
  M2M_OPS_LISTEN: 'ops.example:7751',
  M2M_TLS_LISTEN: '203.0.113.2:7750',
});
const error = (fields: object) => Object.assign(new Error('what Node.js says'), fields);

test.each([
  [
    { syscall: 'listen', code: 'EADDRINUSE', address: '203.0.113.1', port: 7750 },
    'M2M_LISTEN: 203.0.113.1:7750 is in use by another process',
  ],
  [
    { syscall: 'bind', code: 'EADDRNOTAVAIL', address: '203.0.113.1', port: 7750 },
    'M2M_LISTEN: 203.0.113.1:7750 cannot be listened on (EADDRNOTAVAIL)',
  ],
  [
    { syscall: 'bind', code: 'EACCES', address: '203.0.113.2', port: 7750 },
    'M2M_TLS_LISTEN: 203.0.113.2:7750 cannot be listened on (EACCES)',
  ],
  [
    { syscall: 'getaddrinfo', code: 'ENOTFOUND', hostname: 'ops.example' },
    'M2M_OPS_LISTEN: ops.example:7751 cannot be listened on (ENOTFOUND)',
  ],
  [
    { syscall: 'listen', code: 'EADDRINUSE', address: '192.0.2.1', port: 7751 },
    'M2M_OPS_LISTEN: ops.example:7751 is in use by another process',
  ],
])('%j', (fields, line) => {
  expect(listenFailure(error(fields), settings)).toBe(line);
});

test.each([
  { syscall: 'getaddrinfo', code: 'ENOTFOUND', hostname: 'db.example' },
  { syscall: 'connect', code: 'ECONNREFUSED', address: '127.0.0.1', port: 5432 },
  {},
])('%j is no listener', (fields) => {
  expect(listenFailure(error(fields), settings)).toBeUndefined();
});
