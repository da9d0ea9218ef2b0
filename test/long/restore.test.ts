/** A backup brought in over gateways that run, as pg_restore does it: tables first, rights last. */
import { execFile } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { DebianServers, testWithDebianServer, type DebianServer } from '../support/debianServer';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { login, RESULT, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';

const BIN = '/usr/lib/postgresql/15/bin';

let servers: DebianServers;
let home: TestHome;
let server: DebianServer;
let operator: Operator;
let gateway: GatewayProcess;
let fleet: Terminal[];
let sequence = 0;

beforeEach(async () => {
  servers = new DebianServers();
  home = testHome();
  server = await servers.primary();
});

afterEach(async () => {
  await gateway?.kill();
  await operator?.close();
  await servers.close();
  home.remove();
});

const execute = promisify(execFile);
const run = async (program: string, ...args: string[]) =>
  (await execute(join(BIN, program), args, { maxBuffer: 1e8 })).stdout;

const isAction = (action: string) => (line: LogLine) => line['event.action'] === action;

async function ask(terminal: Terminal): Promise<number> {
  const socket = await RawTerminal.open(gateway);
  try {
    return (await socket.askOnce(login(terminal, { sequence: (sequence += 1) }))).result!;
  } finally {
    socket.close();
  }
}

/** Terminals that log in all the time. @returns a function that ends it, with how often each result was told */
function hammer(): () => Promise<Map<number, number>> {
  const told = new Map<number, number>();
  let going = true;
  const each = fleet.map(async (terminal) => {
    while (going) {
      const result = await ask(terminal);
      told.set(result, (told.get(result) ?? 0) + 1);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
  });
  return async () => {
    going = false;
    await Promise.all(each);
    return told;
  };
}

async function begin(workers: string): Promise<string> {
  gateway = await startGateway({
    databaseUrl: server.url,
    home,
    environment: { M2M_WORKERS: workers, M2M_DATABASE_TIMEOUT: process.env['TIMEOUT'] ?? '120' },
  });
  operator = await Operator.connect(server.url);
  fleet = await operator.provisionMany(20);
  for (const terminal of fleet) await eventually('a login', async () => (await ask(terminal)) === RESULT.OK);
  const dump = servers.folder('dump');
  await run('pg_dump', '-Fc', '-f', dump, server.url);
  return dump;
}

async function isWellAgain(): Promise<void> {
  await eventually('readiness', async () => (await fetch(`${gateway.ops}/readyz`)).status === 200);
  for (const terminal of fleet) await eventually('a login', async () => (await ask(terminal)) === RESULT.OK);
  const late = await operator.provision();
  await sealed(operator, late);
  await eventually('living processes', async () => {
    const living = `SELECT FROM m2m.instance WHERE seen_at > now() - interval '10 seconds'`;
    return (await operator.sql(living)).length > 0;
  });
  expect(await operator.sql('SELECT FROM m2m.sealing_key')).toHaveLength(1);
}

const DROP = 'DROP SCHEMA m2m CASCADE';

describe.each(['1', '2'])('%s workers', (workers) => {
  testWithDebianServer('the schema is dropped and brought in part by part', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    await operator.sql(DROP);
    await gateway.logged(isAction('database-lost'));
    await run('pg_restore', '-d', server.url, '--no-acl', dump);
    await gateway.logged((line) => /permission denied/.test(String(line['error.message'])));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect((await fetch(`${gateway.ops}/readyz`)).status).toBe(503);
    const grants = (await run('pg_restore', '-f', '-', dump)).match(/^(GRANT|REVOKE) [^;]*;/gm)!;
    for (const grant of grants) await operator.sql(grant);
    await gateway.logged(isAction('database-back'));
    await isWellAgain();
    const told = await stop();
    report(told);
    expect([...told.keys()].sort()).toEqual([RESULT.OK, RESULT.BUSY].sort());
    expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
  });

  testWithDebianServer('brought in object by object', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    await run('pg_restore', '-d', server.url, '--clean', dump);
    await isWellAgain();
    report(await stop());
  });

  testWithDebianServer('brought in by one transaction', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    const script = servers.folder('script');
    await run('pg_restore', '-f', script, '--clean', dump);
    appendFileSync(script, 'SELECT pg_sleep(5);\n');
    await run('psql', '-q', '-v', 'ON_ERROR_STOP=1', '--single-transaction', '-f', script, server.url);
    await isWellAgain();
    const told = await stop();
    report(told);
    expect([...told.keys()].filter((result) => ![RESULT.OK, RESULT.BUSY].includes(result as never))).toEqual(
      [],
    );
    expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
  });

  testWithDebianServer('an empty database, migrated under the gateway, then filled', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    await operator.close();
    const admin = new Client({ connectionString: server.url.replace(/postgres$/, 'template1') });
    await admin.connect();
    await admin.query('DROP DATABASE postgres WITH (FORCE)');
    await gateway.logged(isAction('database-lost'));
    await admin.query('CREATE DATABASE postgres');
    await admin.end();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect((await fetch(`${gateway.ops}/readyz`)).status).toBe(503);
    await run('pg_restore', '-d', server.url, dump);
    operator = await Operator.connect(server.url);
    await isWellAgain();
    const told = await stop();
    report(told);
    expect([...told.keys()].filter((result) => ![RESULT.OK, RESULT.BUSY].includes(result as never))).toEqual(
      [],
    );
    expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
  });
});

function report(told: Map<number, number>): void {
  const counts = new Map<string, number>();
  for (const line of gateway.log) {
    const key = `${String(line['event.action'])} ${String(line['event.reason'] ?? '')} ${String(line['error.message'] ?? '').slice(0, 120)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  process.stderr.write(
    `${expect.getState().currentTestName}\ntold ${JSON.stringify([...told])}\n${[...counts].map(([k, n]) => `  ${n} ${k}`).join('\n')}\n`,
  );
}
