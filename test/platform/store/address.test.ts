import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { Client } from 'pg';
import { asPsqlReads } from '../../../src/platform/store/address';
import { migrate } from '../../../src/platform/store/migrate';

const directory = mkdtempSync(join(tmpdir(), 'm2m-address-'));
const ca = join(directory, 'ca.crt');
writeFileSync(ca, 'a certificate');
afterAll(() => rmSync(directory, { recursive: true }));

/** How the client library would connect. */
function tlsOf(url: string): string {
  const { ssl } = new Client({ connectionString: asPsqlReads(url) }) as unknown as {
    ssl: boolean | { rejectUnauthorized?: boolean; checkServerIdentity?: unknown; ca?: string };
  };
  if (typeof ssl === 'boolean') return ssl ? 'verify-full' : 'plain';
  if (ssl.rejectUnauthorized === false) return 'not verified';
  return ssl.checkServerIdentity === undefined ? 'verify-full' : 'verify-ca';
}

test.each([
  ['postgresql://m2m@db.example/m2m', 'plain'],
  ['postgresql://m2m@db.example/m2m?sslmode=disable', 'plain'],
  ['postgresql://m2m@db.example/m2m?sslmode=require', 'not verified'],
  ['postgres://m2m:p%40ss%3Fw@db.example:5433/m2m?application_name=x&sslmode=require', 'not verified'],
  [`postgresql://m2m@db.example/m2m?sslmode=require&sslrootcert=${ca}`, 'verify-ca'],
  [`postgresql://m2m@db.example/m2m?sslmode=verify-ca&sslrootcert=${ca}`, 'verify-ca'],
  [`postgresql://m2m@db.example/m2m?sslmode=verify-full&sslrootcert=${ca}`, 'verify-full'],
  ['postgresql://m2m@/m2m?host=/run/postgresql&sslmode=require', 'plain'],
  ['postgresql://m2m@%2Frun%2Fpostgresql/m2m', 'plain'],
])('%s: %s', (url, tls) => {
  expect(tlsOf(url)).toBe(tls);
});

test.each(['postgresql://m2m@/m2m?host=%2Frun%2Fpostgresql&port=5432', 'postgresql://%2Frun/m2m'])(
  'a socket has no TLS, whatever PGSSLMODE says: %s',
  (url) => {
    process.env['PGSSLMODE'] = 'require';
    try {
      expect(tlsOf(url)).toBe('plain');
    } finally {
      delete process.env['PGSSLMODE'];
    }
  },
);

test('a file that is not there is named, and the password is not', async () => {
  const missing = migrate(
    'postgresql://m2m:hidden@127.0.0.1:1/m2m?sslmode=require&sslrootcert=/nowhere/ca.crt',
  );
  await expect(missing).rejects.toThrow(
    /^the database URL names a file that cannot be read: .*\/nowhere\/ca\.crt/,
  );
  await expect(missing).rejects.not.toThrow(/hidden/);
  await expect(migrate('postgresql://m2m:hidden@127.0.0.1:1/m2m?sslmode=verify-ca')).rejects.toThrow(
    'the database URL: sslmode=verify-ca needs sslrootcert, the CA certificate',
  );
});
