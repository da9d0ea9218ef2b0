/** A database that hangs, is full, crowded or silent: BUSY meanwhile, and afterwards all is well without a restart. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import {
  COMMAND,
  credentialChange,
  credentialConfirm,
  downlinkFlaw,
  heartbeat,
  login,
  RESULT,
  sessionKey,
  TAG,
  unwrap,
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { sealed } from '../support/texts';
import { Wire } from '../support/wire';

/** Seconds: these tests are about statements that are given up. */
const TIMEOUT = '3';

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let wire: Wire;
const running: GatewayProcess[] = [];
const sockets: RawTerminal[] = [];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
  wire = await Wire.to(database.url);
});

afterEach(async () => {
  wire.heal();
  for (const socket of sockets.splice(0)) socket.close();
  await Promise.all(running.splice(0).map((gateway) => gateway.kill()));
});

afterAll(async () => {
  await wire?.close();
  await operator?.close();
  await database?.drop();
  home?.remove();
});

async function start(url: string, environment: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({ databaseUrl: url, home, environment });
  running.push(gateway);
  return gateway;
}

const startOnWire = () => start(wire.through, { M2M_DATABASE_TIMEOUT: TIMEOUT });

async function dial(gateway: GatewayProcess): Promise<RawTerminal> {
  const socket = await RawTerminal.open(gateway);
  sockets.push(socket);
  return socket;
}

async function loggedIn(gateway: GatewayProcess, terminal: Terminal): Promise<RawTerminal> {
  const socket = await dial(gateway);
  expect((await socket.ask(login(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
  return socket;
}

let sequence = 0;
const next = () => (sequence += 1);
const isAction = (action: string) => (line: LogLine) => line['event.action'] === action;

const times = ({ log }: GatewayProcess, action: string) => log.filter(isAction(action)).length;

/** A login that is told BUSY, right or wrong; a heartbeat that is answered. */
async function busyButAlive(gateway: GatewayProcess, inside: RawTerminal, terminal: Terminal): Promise<void> {
  const outside = await dial(gateway);
  for (const password of [terminal.uplinkPassword, Buffer.from('wrong')]) {
    const answer = await outside.askOnce(login(terminal, { sequence: next(), password }));
    expect(answer.result).toBe(RESULT.BUSY);
    expect(answer.tlvs.has(TAG.RETRY_AFTER)).toBe(true);
  }
  expect((await inside.askOnce(heartbeat(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
}

test('a statement hangs: it is given up, and nothing waits behind it', async () => {
  const gateway = await startOnWire();
  const terminal = await operator.provision();
  const inside = await loggedIn(gateway, terminal);
  wire.silence();
  await busyButAlive(gateway, inside, terminal);
  await gateway.logged(isAction('database-lost'));
  await busyButAlive(gateway, inside, terminal);
  const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
  expect(metrics).toMatch(/m2m_database_up 0/);
  expect(metrics).toMatch(/m2m_database_waiting 0/);
  wire.heal();
  await gateway.logged(isAction('database-back'));
  expect((await inside.ask(sessionKey(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
  await loggedIn(gateway, terminal);
  expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
});

test('a login that hung arrives late: who is in elsewhere since stays in', async () => {
  const [hung, well] = await Promise.all([startOnWire(), start(database.url)]);
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  await loggedIn(hung, terminal);
  wire.silence();
  const late = await dial(hung);
  expect((await late.askOnce(login(terminal, { sequence: next() }))).result).toBe(RESULT.BUSY);
  const inside = await loggedIn(well, terminal);
  const held = async () =>
    (await operator.sql('SELECT session_id FROM m2m.live_session WHERE serial = $1', [terminal.serial]))[0];
  const before = await held();
  wire.heal();
  await hung.logged(isAction('database-back'));
  await sleep(500);
  expect(await held()).toEqual(before);
  expect((await inside.ask(sessionKey(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
});

describe('the answer to a confirmation is lost in the database', () => {
  /** A session whose CREDENTIAL_CONFIRM was committed and answered INTERNAL. */
  async function unsure() {
    const gateway = await startOnWire();
    const terminal = await operator.provision();
    await sealed(operator, terminal);
    const socket = await loggedIn(gateway, terminal);
    const asked = await socket.ask(credentialChange(3)(terminal, { sequence: next(), keyProof: true }));
    expect(asked.result).toBe(RESULT.OK);
    const changed = withValues(terminal, asked);
    const confirm = credentialConfirm(asked.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0));
    wire.mute();
    expect((await socket.askOnce(confirm(changed, { sequence: next() }))).result).toBe(RESULT.INTERNAL);
    wire.heal();
    return { gateway, terminal, socket, changed, confirm };
  }

  test('asked again it holds', async () => {
    const { gateway, socket, changed, confirm } = await unsure();
    let answer: Parsed;
    do answer = await socket.askOnce(confirm(changed, { sequence: next() }));
    while (answer.result === RESULT.BUSY);
    expect(answer.result).toBe(RESULT.OK);
    await loggedIn(gateway, changed);
  });

  test('whatever is asked next is answered under the new values, and the old ones are good for nothing', async () => {
    const { gateway, terminal, socket, changed } = await unsure();
    await gateway.logged(isAction('database-back'));
    let beat: Buffer, answer: Parsed;
    do {
      beat = heartbeat(changed, { sequence: next() });
      answer = await socket.askOnce(beat);
    } while (answer.result === RESULT.AUTH_FAILED);
    expect([answer.result, downlinkFlaw(answer, changed, beat)]).toEqual([RESULT.OK, undefined]);
    const old = { ...changed, uplinkPassword: terminal.uplinkPassword };
    for (const ask of [heartbeat, sessionKey])
      expect((await socket.askOnce(ask(old, { sequence: next() }))).result).toBe(RESULT.AUTH_FAILED);
    const key = sessionKey(changed, { sequence: next() });
    const shown = await socket.askOnce(key);
    expect([shown.result, downlinkFlaw(shown, changed, key)]).toEqual([RESULT.OK, undefined]);
  });
});

function withValues(terminal: Terminal, answer: Parsed): Terminal {
  const value = (tag: number) => unwrap(terminal.baseKey, answer.tlvs.get(tag)!)!;
  return {
    ...terminal,
    uplinkPassword: value(TAG.NEW_UPLINK_PASSWORD),
    downlinkPassword: value(TAG.NEW_DOWNLINK_PASSWORD),
  };
}

test('the disk is full: BUSY, and pauses that grow instead of a flood of log lines', async () => {
  const gateway = await startOnWire();
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  const inside = await loggedIn(gateway, terminal);
  await operator.sql(`
    CREATE FUNCTION m2m.no_room() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE UPDATE ON m2m.session EXECUTE FUNCTION m2m.no_room()`);
  const outside = await dial(gateway);
  for (let n = 0; n < 5; n++) {
    await eventually(
      'a gateway that is ready',
      async () => (await fetch(`${gateway.ops}/readyz`)).status === 200,
    );
    expect((await outside.askOnce(login(terminal, { sequence: next() }))).result).toBe(RESULT.BUSY);
  }
  expect((await inside.askOnce(heartbeat(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
  expect(times(gateway, 'database-lost')).toBeLessThanOrEqual(6);
  expect(gateway.log.find(isAction('database-lost'))?.['error.message']).toMatch(/No space left on device/);
  await operator.sql('DROP TRIGGER full_disk ON m2m.session; DROP FUNCTION m2m.no_room()');
  await loggedIn(gateway, terminal);
  expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
});

describe('what a statement needs is not in the database, or not for us', () => {
  test.each([
    [
      'the schema',
      'ALTER SCHEMA m2m RENAME TO gone',
      'ALTER SCHEMA gone RENAME TO m2m',
      /m2m.* does not exist/,
    ],
    [
      'a table',
      'ALTER TABLE m2m.throttle RENAME TO gone',
      'ALTER TABLE m2m.gone RENAME TO throttle',
      /m2m.throttle" does not exist/,
    ],
    [
      'the right to any of it, which a backup brings last',
      'REVOKE USAGE ON SCHEMA m2m FROM m2m_gateway',
      'GRANT USAGE ON SCHEMA m2m TO m2m_gateway',
      /permission denied for schema m2m/,
    ],
    [
      'the right to a table',
      'REVOKE SELECT ON m2m.throttle FROM m2m_gateway',
      'GRANT SELECT ON m2m.throttle TO m2m_gateway',
      /may not read m2m.throttle/,
    ],
  ])('%s: BUSY, one line that says so, and on again with it', async (_, take, giveBack, why) => {
    const gateway = await start(database.url);
    const terminal = await operator.provision();
    await sealed(operator, terminal);
    const inside = await loggedIn(gateway, terminal);
    await operator.sql(take);
    try {
      expect((await gateway.logged(isAction('database-lost')))['error.message']).toMatch(why);
      await busyButAlive(gateway, inside, terminal);
      expect((await fetch(`${gateway.ops}/readyz`)).status).toBe(503);
    } finally {
      await operator.sql(giveBack);
    }
    await gateway.logged(isAction('database-back'));
    await loggedIn(gateway, terminal);
    expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
    expect([times(gateway, 'database-lost'), times(gateway, 'database-back')]).toEqual([1, 1]);
  });
});

test('an older schema came back: BUSY, and a line with what to do, until it is migrated', async () => {
  const gateway = await start(database.url);
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  const inside = await loggedIn(gateway, terminal);
  await operator.sql('ALTER SCHEMA m2m RENAME TO gone');
  await gateway.logged(isAction('database-lost'));
  const [newest] = await operator.sql<{ version: number; name: string; works_from: number }>(
    'DELETE FROM gone.migration WHERE version = (SELECT max(version) FROM gone.migration) RETURNING *',
  );
  await operator.sql('ALTER SCHEMA gone RENAME TO m2m');
  await gateway.logged((line) => /version is \d+, .*: m2m migrate/.test(String(line['error.message'])));
  await busyButAlive(gateway, inside, terminal);
  const { version, name, works_from: worksFrom } = newest!;
  await operator.sql('INSERT INTO m2m.migration (version, name, works_from) VALUES ($1, $2, $3)', [
    version,
    name,
    worksFrom,
  ]);
  await gateway.logged(isAction('database-back'));
  await loggedIn(gateway, terminal);
  expect(gateway.log.filter(isAction('internal-error'))).toEqual([]);
});

test('a backup came back that was sealed under other keys: BUSY and a line, not AUTH_FAILED', async () => {
  const gateway = await start(database.url);
  const terminal = await operator.provision();
  await sealed(operator, terminal);
  const inside = await loggedIn(gateway, terminal);
  const other = `INSERT INTO m2m.sealing_key (key_id, check_value) VALUES ('\\x00000001', '\\x01')`;
  // As by one transaction: no statement fails.
  await operator.sql(`${other}; DELETE FROM m2m.instance`);
  await gateway.logged((line) => /it holds no key 00000001/.test(String(line['error.message'])));
  await busyButAlive(gateway, inside, terminal);
  await operator.sql('DELETE FROM m2m.sealing_key');
  await gateway.logged(isAction('database-back'));
  await loggedIn(gateway, terminal);
  await eventually('the key in use', async () => {
    const known = await operator.sql('SELECT FROM m2m.sealing_key');
    return known.length === 1;
  });
  expect(gateway.log.filter(isAction('secret-unreadable'))).toEqual([]);
  expect(times(gateway, 'database-lost')).toBe(1);
});

test('the server has no connection left: who has one goes on with it, who has none says BUSY', async () => {
  await operator.sql(`CREATE ROLE crowd LOGIN CONNECTION LIMIT 4; GRANT m2m_gateway TO crowd`);
  await operator.sql(`GRANT USAGE ON SCHEMA m2m TO crowd; GRANT SELECT ON ALL TABLES IN SCHEMA m2m TO crowd`);
  const gateway = await start(wire.through.replace(/\/\/[^@]*@/, '//crowd@'));
  const terminals = await Promise.all(Array.from({ length: 40 }, () => operator.provision()));
  const inside = await Promise.all(terminals.map((terminal) => loggedIn(gateway, terminal)));
  expect(times(gateway, 'database-lost')).toBe(0);
  await operator.sql(`ALTER ROLE crowd CONNECTION LIMIT 0`);
  wire.cut();
  await gateway.logged(isAction('database-lost'));
  await busyButAlive(gateway, inside[0]!, terminals[0]!);
  await operator.sql(`ALTER ROLE crowd CONNECTION LIMIT 4`);
  await gateway.logged(isAction('database-back'));
  await loggedIn(gateway, terminals[0]!);
  await gateway.kill();
});

test('the listening connection is silently dead: changes are heard of by looking, then it listens again', async () => {
  const gateway = await startOnWire();
  const terminal = await operator.provision();
  const inside = await loggedIn(gateway, terminal);
  wire.forget();
  await operator.sql('SELECT m2m.suspend_terminal($1, $2)', [terminal.serial, 'for a test']);
  expect((await inside.next()).command).toBe(COMMAND.DISCONNECT);
  const listening = async () =>
    (
      await operator.sql(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'm2m-gateway'
         AND query LIKE 'LISTEN%' AND backend_start > $1::timestamptz`,
        [since],
      )
    ).length > 0;
  const [{ since }] = (await operator.sql<{ since: string }>('SELECT now()::text AS since')) as [
    { since: string },
  ];
  await eventually('a new connection that listens', listening);
});

test('SIGTERM while the database is silent ends the gateway', async () => {
  const gateway = await startOnWire();
  await loggedIn(gateway, await operator.provision());
  wire.silence();
  expect(await gateway.stop()).toBe(0);
});
