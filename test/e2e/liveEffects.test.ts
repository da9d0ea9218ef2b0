/** Changes in SQL on live sessions where it is hard: a burst, and notifications that get lost. */
import { Deployment } from '../support/deployment';
import { eventually } from '../support/eventually';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { COMMAND, heartbeat, login, RESULT, TAG, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const SUSPENDED = 2;
const IDENTITY_CHANGED = 3;
const BURST = 10_000;

let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
});

afterAll(() => deployment?.close());

async function onLine(): Promise<{ terminal: Terminal; socket: RawTerminal }> {
  const terminal = await operator.provision();
  const socket = await RawTerminal.open(gateway);
  expect((await socket.ask(login(terminal))).result).toBe(RESULT.OK);
  return { terminal, socket };
}

async function expectSentAway(socket: RawTerminal, reason = SUSPENDED): Promise<void> {
  const told = await socket.next();
  expect([told.command, told.tlvs.get(TAG.DISCONNECT_REASON)![0]]).toEqual([COMMAND.DISCONNECT, reason]);
}

const suspend = ({ serial }: Terminal) => operator.sql(`SELECT m2m.suspend_terminal($1, 'x')`, [serial]);

test(`a transaction that changes ${BURST} terminals: each session hears of it, the rest goes on`, async () => {
  await operator.sql('BEGIN');
  await operator.sql(
    `INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password)
     SELECT 'B-' || n, digits || m2m.luhn_digit(digits), '47000' || lpad(n::text, 10, '0'), 'up', 'down'
     FROM generate_series(1, $1) AS n CROSS JOIN LATERAL (SELECT '35' || lpad(n::text, 12, '0') AS digits) AS d`,
    [BURST],
  );
  expect(await operator.sql('SELECT * FROM m2m.import_terminals()')).toEqual([]);
  await operator.sql('COMMIT');
  const [first, last, bystander] = [await onLine(), await onLine(), await onLine()];
  await operator.sql('BEGIN');
  await suspend(first.terminal);
  await operator.sql(
    `SELECT m2m.set_contact('B-' || n, NULL, 'moved') FROM generate_series(1, $1::int) AS n`,
    [BURST],
  );
  await suspend(last.terminal);
  await operator.sql('COMMIT');
  await Promise.all([expectSentAway(first.socket), expectSentAway(last.socket)]);
  expect((await bystander.socket.ask(heartbeat(bystander.terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
  expect((await onLine()).socket.closed).toBe(false);
  const told = await gateway.logged(
    (line) => line['event.action'] === 'terminal-changed' && Number(line['m2m.count']) > 100,
  );
  expect(told).toBeDefined();
});

test('a listening connection that is cut off: what changed meanwhile is found, and it listens again', async () => {
  const { terminal, socket } = await onLine();
  const listeners = () =>
    operator.sql<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN m2m_change%'
         AND pid <> pg_backend_pid()`,
    );
  const before = await eventually('a listening connection', async () => (await listeners())[0]);
  await operator.sql('SELECT pg_terminate_backend($1)', [before.pid]);
  await suspend(terminal);
  await expectSentAway(socket);
  let again: { pid: number }[] = [];
  while (again.length === 0 || again[0]!.pid === before.pid) again = await listeners();
  const other = await onLine();
  await suspend(other.terminal);
  await expectSentAway(other.socket);
});

test('a change that no notification tells of is found by looking', async () => {
  const { terminal, socket } = await onLine();
  await operator.sql(
    `WITH suspended AS (UPDATE m2m.terminal SET status = 'suspended' WHERE serial = $1 RETURNING id, serial),
       ended AS (UPDATE m2m.session AS s SET session_id = NULL, revision = revision + 1, end_reason = 'suspended'
         FROM suspended WHERE s.terminal_id = suspended.id)
     INSERT INTO m2m.change (terminal_id, serial, action) SELECT id, serial, 'suspend_terminal' FROM suspended`,
    [terminal.serial],
  );
  await expectSentAway(socket);
});

test('a rebinding that changes the phone number alone leaves the session, one of the SIM does not', async () => {
  const { terminal, socket } = await onLine();
  const { serial, imei, imsi } = terminal;
  const rebind = (sim: string, number: string) =>
    operator.sql('SELECT m2m.rebind_terminal($1, $2, $3, $4)', [serial, imei, sim, number]);
  await rebind(imsi, '+41791111111');
  await gateway.logged((line) => line['event.action'] === 'terminal-changed' && line['device.id'] === serial);
  expect((await socket.ask(heartbeat(terminal, { sequence: 2 }))).result).toBe(RESULT.OK);
  await rebind(`${imsi.slice(0, -1)}${(Number(imsi.at(-1)) + 1) % 10}`, '+41791111111');
  await expectSentAway(socket, IDENTITY_CHANGED);
});
