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
    return (await socket.askOnce(login(terminal, { sequence: (sequence += 1) }))).result;
  } finally {
    socket.close();
  }
}

/** Terminals that log in all the time, and stay below what a replay memory holds. @returns a function that ends it, with how often each result was told */
function hammer(): () => Promise<Map<number, number>> {
  const told = new Map<number, number>();
  let going = true;
  const each = fleet.map(async (terminal) => {
    while (going) {
      const result = await ask(terminal);
      told.set(result, (told.get(result) ?? 0) + 1);
      await new Promise((resolve) => setTimeout(resolve, 200));
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
    environment: { M2M_WORKERS: workers },
  });
  operator = await Operator.connect(server.url);
  fleet = await operator.provisionMany(20);
  for (const terminal of fleet) await eventually('a login', async () => (await ask(terminal)) === RESULT.OK);
  const dump = servers.folder('dump');
  await run('pg_dump', '-Fc', '-f', dump, server.url);
  return dump;
}

/** @param processes rows of a gateway that has so many */
async function isWellAgain(processes: number): Promise<void> {
  await eventually('readiness', async () => (await fetch(`${gateway.ops}/readyz`)).status === 200);
  for (const terminal of fleet) await eventually('a login', async () => (await ask(terminal)) === RESULT.OK);
  const late = await operator.provision();
  await sealed(operator, late);
  await eventually('living processes', async () => {
    const living = `SELECT FROM m2m.instance WHERE seen_at > now() - interval '10 seconds'`;
    return (await operator.sql(living)).length === processes;
  });
  expect(await operator.sql('SELECT FROM m2m.sealing_key')).toHaveLength(1);
}

/** Terminals with right passwords are told to come again, and an operator's log is no flood of our mistakes. */
function expectNothingElse(told: Map<number, number>): void {
  const others = [...told.keys()].filter((result) => result !== RESULT.OK && result !== RESULT.BUSY);
  expect(others).toEqual([]);
  expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
}

describe.each([
  ['1', 1],
  ['2', 3],
])('%s workers', (workers, processes) => {
  testWithDebianServer('the schema is dropped and brought in part by part', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    await operator.sql('DROP SCHEMA m2m CASCADE');
    await gateway.logged(isAction('database-lost'));
    await run('pg_restore', '-d', server.url, '--no-acl', dump);
    await gateway.logged((line) => /permission denied/.test(String(line['error.message'])));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect((await fetch(`${gateway.ops}/readyz`)).status).toBe(503);
    const grants = (await run('pg_restore', '-f', '-', dump)).match(/^(GRANT|REVOKE) [^;]*;/gm)!;
    for (const grant of grants) await operator.sql(grant);
    await gateway.logged(isAction('database-back'));
    await isWellAgain(processes);
    const told = await stop();
    expectNothingElse(told);
    expect(told.get(RESULT.BUSY)).toBeGreaterThan(0);
  });

  testWithDebianServer('brought in object by object', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    await run('pg_restore', '-d', server.url, '--clean', dump);
    await isWellAgain(processes);
    expectNothingElse(await stop());
  });

  testWithDebianServer('brought in by one transaction', async () => {
    const dump = await begin(workers);
    const stop = hammer();
    const script = servers.folder('script');
    await run('pg_restore', '--no-owner', '-f', script, dump);
    appendFileSync(script, 'SELECT pg_sleep(5);\n');
    const drop = ['-c', 'DROP SCHEMA m2m CASCADE'];
    const whole = ['-v', 'ON_ERROR_STOP=1', '--single-transaction', ...drop, '-f', script];
    await run('psql', '-q', ...whole, server.url);
    await isWellAgain(processes);
    expectNothingElse(await stop());
  });

  testWithDebianServer('the database is dropped, made anew, and filled', async () => {
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
    await isWellAgain(processes);
    expectNothingElse(await stop());
  });
});
