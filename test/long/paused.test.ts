/** One of two gateways stands still for longer than everything's timeout, and goes on as if nothing had been. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess } from '../support/gateway';
import { Operator } from '../support/operator';
import { COMMAND, heartbeat, login, RESULT, sessionKey, TAG, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const TERMINALS = 20;
/** Longer than 30 s without a sign of life, after which others think it gone. */
const PAUSE_MS = 45_000;
const SUPERSEDED = 1;
const TIMEOUTS = { M2M_DATABASE_TIMEOUT: '5', M2M_LOGIN_DEADLINE: '10', M2M_HEARTBEAT_INTERVAL: '300' };

let sequence = 0;
const next = () => (sequence += 1);

async function loggedIn(gateway: GatewayProcess, terminal: Terminal) {
  const socket = await RawTerminal.open(gateway);
  const answer = await socket.ask(login(terminal, { sequence: next() }));
  expect(answer.result).toBe(RESULT.OK);
  return { terminal, socket, session: answer.tlvs.get(TAG.SESSION_ID)!.toString('hex') };
}

test(`a pause of ${PAUSE_MS / 1000} s`, async () => {
  const database = await createDatabase();
  const home = testHome();
  const operator = await Operator.connect(database.url);
  const start = (name: string) =>
    startGateway({ databaseUrl: database.url, home, environment: { ...TIMEOUTS, M2M_GATEWAY_ID: name } });
  const [paused, other] = await Promise.all([start('paused'), start('other')]);
  const terminals: Terminal[] = [];
  for (let n = 0; n < TERMINALS; n++) terminals.push(await operator.provision());
  const alive = async () =>
    (
      await operator.sql<{ alive: boolean }>(
        `SELECT seen_at > now() - interval '10 seconds' AS alive FROM m2m.instance WHERE gateway = 'paused'`,
      )
    )[0]!.alive;
  const held = async () =>
    (
      await operator.sql<{ id: string }>(
        `SELECT encode(session_id, 'hex') AS id FROM m2m.session JOIN m2m.terminal AS t ON t.id = terminal_id
         WHERE t.serial = ANY ($1) ORDER BY t.serial`,
        [terminals.map(({ serial }) => serial)],
      )
    ).map(({ id }) => id);
  try {
    const before = await Promise.all(terminals.map((terminal) => loggedIn(paused, terminal)));
    // Some requests are under way just then.
    for (const { socket, terminal } of before.slice(0, 5))
      socket.send(sessionKey(terminal, { sequence: next() }));
    paused.child.kill('SIGSTOP');
    await sleep(PAUSE_MS / 2);
    expect(await alive()).toBe(false);
    const after = await Promise.all(terminals.map((terminal) => loggedIn(other, terminal)));
    await operator.sql('SELECT m2m.set_credentials($1, uplink_password => $2)', [
      terminals.at(-1)!.serial,
      'another one',
    ]);
    await sleep(PAUSE_MS / 2);

    paused.child.kill('SIGCONT');
    for (const { socket } of before) {
      let told = await socket.next().catch(() => undefined);
      while (told !== undefined && told.command !== COMMAND.DISCONNECT)
        told = await socket.next().catch(() => undefined);
      if (told !== undefined) expect(told.tlvs.get(TAG.DISCONNECT_REASON)![0]).toBeLessThanOrEqual(3);
    }
    const ended = () => paused.log.filter((line) => line['event.action'] === 'session-ended');
    while (ended().length < TERMINALS) await sleep(50);
    expect(ended().map((line) => line['m2m.detail'])).toEqual(
      expect.arrayContaining(['superseded', 'identity-changed']),
    );
    while (!(await alive())) await sleep(100);
    const live = after.slice(0, -1);
    const names = new Map(live.map(({ terminal, session }) => [terminal.serial, session]));
    const standing = [...names].sort(([one], [two]) => (one < two ? -1 : 1)).map(([, session]) => session);
    expect((await held()).filter((id) => id !== null)).toEqual(standing);
    for (const { socket, terminal } of live) {
      expect((await socket.ask(heartbeat(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
      expect((await socket.ask(sessionKey(terminal, { sequence: next() }))).result).toBe(RESULT.OK);
    }
    // It serves again, and is told of what the other one takes over.
    const again = await loggedIn(paused, terminals[0]!);
    await loggedIn(other, terminals[0]!);
    const told = await again.socket.next();
    expect([told.command, told.tlvs.get(TAG.DISCONNECT_REASON)![0]]).toEqual([
      COMMAND.DISCONNECT,
      SUPERSEDED,
    ]);
    for (const { log } of [paused, other])
      expect(log.filter((line) => line['event.action'] === 'internal-error')).toEqual([]);
  } finally {
    paused.child.kill('SIGCONT');
    await operator.close();
    await Promise.all([paused.kill(), other.kill()]);
    await database.drop();
    home.remove();
  }
});
