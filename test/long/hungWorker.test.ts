/** A worker that hangs with terminals on it: another takes its place, and they come back. */
import { readFileSync } from 'node:fs';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { login, RESULT } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { eventually } from '../support/eventually';

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
  gateway = await startGateway({ databaseUrl: database.url, home, environment: { M2M_WORKERS: '2' } });
});

afterAll(async () => {
  await gateway?.stop();
  await operator?.close();
  await database?.drop();
  home?.remove();
});

const logins = async () => {
  const page = await (await fetch(`${gateway.ops}/metrics`, { headers: { connection: 'close' } })).text();
  return Number(/^m2m_logins_total\{result="ok",version="4\.0"\} (\d+)$/m.exec(page)?.[1]);
};

test('it is killed after a minute, its terminals are let in elsewhere, and what it counted stays', async () => {
  const terminal = await operator.provision();
  const socket = await RawTerminal.open(gateway);
  expect((await socket.ask(login(terminal, { sequence: 1 }))).result).toBe(RESULT.OK);
  const line = await gateway.logged((each) => each['event.action'] === 'terminal-login');
  const hung = line['process.pid'] as number;
  await eventually('its count', async () => (await logins()) === 1);
  process.kill(hung, 'SIGSTOP');
  const lost = await gateway.logged((each) => each['event.action'] === 'worker-lost');
  expect(lost['message']).toMatch(
    new RegExp(`^worker ${hung} ended \\(killed: it had not been heard of for 60 s\\) with`),
  );
  await gateway.logged((each) => each['event.action'] === 'worker-started');
  await eventually('its end', () => socket.closed);
  expect(await logins()).toBe(1);
  const { pid } = gateway.child;
  expect(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')).toHaveLength(2);
  const again = await RawTerminal.open(gateway);
  expect((await again.ask(login(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
  again.close();
});
