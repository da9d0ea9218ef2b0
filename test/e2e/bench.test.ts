/** `m2m bench` against a real gateway and database: what it counts, and what it ends with. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { m2m, requireBuild, type Ended } from '../support/cli';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';

const BARE_SERVER = join(__dirname, '..', '..', 'scripts', 'bench', 'contestants', 'bareServer.js');

let database: TestDatabase;
let home: TestHome;
let gateway: GatewayProcess;

beforeAll(async () => {
  requireBuild('terminal', 'terminal/load', 'cli', 'cli/bench');
  database = await createDatabase();
  home = testHome();
  gateway = await startGateway({ databaseUrl: database.url, home });
});

afterAll(async () => {
  await gateway?.stop();
  await database?.drop();
  home?.remove();
});

/** No run may fail for the machine's slowness. */
const PATIENCE = ['--timeout', '200'];

function bench(...args: string[]): Promise<Ended> {
  const where = ['--connect', `${gateway.host}:${gateway.port}`, '--database-url', database.url];
  return m2m(['bench', ...args, ...where, '--threads', '1', '--json', ...PATIENCE]);
}

interface Shown {
  readonly logins: readonly {
    readonly ok: number;
    readonly failed: number;
    readonly refused: Record<string, number>;
    readonly in?: number;
    readonly latency_ms: { readonly p50: number; readonly max: number };
    readonly wrong_password?: { readonly auth_failed: number; readonly other: Record<string, number> };
    readonly curve?: readonly { readonly in: number }[];
  }[];
  readonly heartbeats?: { readonly beats: number; readonly failed: Record<string, number> };
  readonly generator: { readonly verified: number };
  readonly machine: Record<string, unknown>;
}

function shown({ out }: Ended): Shown {
  return JSON.parse(out) as Shown;
}

test('a new connection for each login', async () => {
  const ended = await bench('--logins', '500', '--terminals', '500', '--verify', '1');
  expect([ended.code, ended.err]).toEqual([0, '']);
  const { logins, generator, machine } = shown(ended);
  expect(logins).toEqual([expect.objectContaining({ ok: 500, failed: 0, refused: {} })]);
  expect(logins[0]!.latency_ms.p50).toBeLessThanOrEqual(logins[0]!.latency_ms.max);
  expect(generator.verified).toBe(500);
  expect(machine).toMatchObject({ node: process.version, postgres: expect.any(String) as string });
  // Nothing of the database's address, which may hold a password.
  expect(ended.out).not.toContain(database.url);
});

test('a server that echoes takes more logins than a gateway would, and no database', async () => {
  const server = spawn(process.execPath, [BARE_SERVER, '--batched'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    const where = ['--connect', line.toString().trim(), '--echo'];
    const ended = await m2m([
      'bench',
      ...where,
      '--terminals',
      '2',
      '--logins',
      '500',
      '--json',
      ...PATIENCE,
    ]);
    expect([ended.code, ended.err]).toEqual([0, '']);
    expect(shown(ended).logins).toEqual([expect.objectContaining({ ok: 500, failed: 0, refused: {} })]);
  } finally {
    server.kill('SIGKILL');
  }
});

test('standing connections, session keys and heartbeats; the terminals are found again', async () => {
  const operator = await Operator.connect(database.url);
  const count = async () => (await operator.sql('SELECT count(*)::integer AS n FROM m2m.terminal'))[0]!['n'];
  const before = await count();
  const ended = await bench(
    ...['--logins', '300', '--terminals', '90', '--beating', '10'],
    ...['--connections', 'persistent', '--key', '--suite', '2', '--verify', '1'],
  );
  expect([ended.code, ended.err]).toEqual([0, '']);
  const { logins, heartbeats, generator } = shown(ended);
  expect(logins[0]).toMatchObject({ ok: 300, failed: 0 });
  expect(generator.verified).toBe(300);
  expect(heartbeats).toMatchObject({ terminals: 10, failed: {} });
  expect([before, await count()]).toEqual([500, 500]);
  await operator.close();
});

test('a wrong password is answered AUTH_FAILED, and that is no failure', async () => {
  const ended = await bench('--logins', '200', '--terminals', '100', '--wrong', '10', '--concurrency', '1');
  expect([ended.code, ended.err]).toEqual([0, '']);
  const [row] = shown(ended).logins;
  expect(row).toMatchObject({ ok: 180, failed: 0, wrong_password: { auth_failed: 20, other: {} } });
});

test('an open loop begins as many as the rate says', async () => {
  const ended = await bench(
    ...['--loop', 'open', '--rate', '50', '--for', '2', '--warm-up', '1'],
    ...['--terminals', '300', '--suite', '1'],
  );
  expect([ended.code, ended.err]).toEqual([0, '']);
  expect(shown(ended).logins[0]).toMatchObject({ rate: 50, ok: 100, failed: 0 });
});

test('a storm is over when all are in', async () => {
  const ended = await bench('storm', '--terminals', '200', '--within', '0.2');
  expect([ended.code, ended.err]).toEqual([0, '']);
  const [row] = shown(ended).logins;
  expect(row).toMatchObject({ ok: 200, in: 200, failed: 0, still_outside: 0 });
  expect(row!.curve!.at(-1)!.in).toBe(200);
});

test('a generator beside others has terminals of its own', async () => {
  const ended = await bench('storm', '--first', '5000', '--terminals', '20', '--beating', '3');
  expect([ended.code, ended.err]).toEqual([0, '']);
  const operator = await Operator.connect(database.url);
  const beyond = `SELECT min(serial), max(serial), count(*)::int FROM m2m.terminal WHERE serial > 'BENCH-0004000'`;
  const [row] = await operator.sql(beyond);
  expect(row).toEqual({ min: 'BENCH-0005001', max: 'BENCH-0005023', count: 23 });
  await operator.close();
});

test('logins that fail end it with 1', async () => {
  const operator = await Operator.connect(database.url);
  await operator.sql(`SELECT m2m.set_credentials('BENCH-0000002', uplink_password => 'another one')`);
  const ended = await bench('--logins', '10', '--terminals', '10', '--concurrency', '1');
  expect([ended.code, ended.err]).toEqual([1, 'm2m: 1 logins failed\n']);
  expect(shown(ended).logins[0]).toMatchObject({ ok: 9, failed: 1, refused: { AUTH_FAILED: 1 } });
  await operator.close();
});

test('other secrets than those in the database are told before anybody logs in', async () => {
  const ended = await bench('--logins', '10', '--terminals', '10', '--seed', 'other');
  expect([ended.code, ended.err]).toEqual([
    1,
    'm2m: terminal BENCH-0000001 of this database was made with another --seed\n',
  ]);
});

test('a gateway that is away ends it with 1', async () => {
  const ended = await m2m(['bench', '--connect', '127.0.0.1:1', '--database-url', database.url]);
  expect([ended.code, ended.err]).toEqual([1, 'm2m: cannot connect to 127.0.0.1:1: ECONNREFUSED\n']);
});

test('a wrong setting for the gateway that it starts ends it with 2', async () => {
  const ended = await m2m(['bench', '--logins', '1'], undefined, { ...process.env, M2M_WORKERS: '-1' });
  expect([ended.code, ended.err]).toEqual([2, expect.stringContaining('M2M_WORKERS holds')]);
});

test.each([
  [['--connect', '127.0.0.1:1'], '--connect needs --database-url'],
  [['--connect', '127.0.0.1:1', '--database-url', 'mysql://x/y'], '--database-url holds something else'],
  [['--database-url', 'postgresql://x/y'], '--database-url is for --connect'],
  [['--echo'], '--echo needs --connect'],
  [['--loop', 'open'], '--loop open needs --rate'],
  [
    ['--loop', 'open', '--rate', '1000', '--terminals', '10'],
    '12000 logins within 10 minutes by 10 terminals',
  ],
  [['--terminals', '10', '--concurrency', '11'], '--concurrency 11 is more than --terminals 10'],
  [['--logins', '5', '--for', '5'], '--logins and --for exclude each other'],
  [['storm', '--terminals', '9000000'], 'ulimit -n'],
])('wrong usage ends it with 2: %p', async (args, says) => {
  const environment = { ...process.env };
  delete environment['DATABASE_URL'];
  const ended = await m2m(['bench', ...args], undefined, environment);
  expect([ended.code, ended.err]).toEqual([2, expect.stringContaining(says)]);
});
