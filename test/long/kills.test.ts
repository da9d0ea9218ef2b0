/**
 * Workers and the primary are killed (SIGKILL) at random moments while terminals log in. What a terminal was answered is
 * in the database afterwards: its session, and the memory of its frame.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { login, RESULT, TAG, type Terminal } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const KILLS = 40;
/** Every so many of them is of the primary. */
const PRIMARY_EVERY = 5;
const CALLERS = 30;
const TERMINALS_EACH = 10;
/** Below what the memory of one terminal holds, so that none is THROTTLED for it. */
const LOGINS_EACH = 50;
/** The test is over within it, however slow the machine is: seconds. */
const WINDOW = '3600';

interface Known {
  readonly terminal: Terminal;
  /** Frames that were answered OK, with the session that each was given. */
  readonly answered: { readonly frame: Buffer; readonly session: string }[];
  sent: number;
  /** Whether the latest frame was cut off: it may have been committed or not. */
  unsure: boolean;
}

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;
let listen = '127.0.0.11:0';

const start = async () => {
  gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: { M2M_WORKERS: '3', M2M_LISTEN: listen, M2M_TIMESTAMP_WINDOW: WINDOW },
  });
  listen = `${gateway.host}:${gateway.port}`;
};

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  await start();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await database?.drop();
  home?.remove();
});

/** One login on a connection of its own; a connection that breaks, or is not taken, is left at that. */
async function attempt(known: Known): Promise<void> {
  const [host = '', port] = listen.split(':');
  const raw = await RawTerminal.open({ host, port: Number(port) }).catch(() => undefined);
  if (raw === undefined) return void (await sleep(20));
  const frame = login(known.terminal, { sequence: ++known.sent });
  try {
    const answer = await raw.ask(frame);
    expect(answer.result).toBe(RESULT.OK);
    known.answered.push({ frame, session: answer.tlvs.get(TAG.SESSION_ID)!.toString('hex') });
    known.unsure = false;
  } catch (error) {
    if (!(error as Error).message.startsWith('the gateway closed')) throw error;
    known.unsure = true;
  } finally {
    raw.close();
  }
}

function workers(): number[] {
  const pid = gateway.child.pid!;
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
}

async function killAtRandom(): Promise<void> {
  for (let n = 1; n <= KILLS; n++) {
    await sleep(randomInt(100, 1_500));
    if (n % PRIMARY_EVERY === 0) {
      await gateway.kill();
      await start();
      continue;
    }
    const alive = workers();
    if (alive.length > 0) process.kill(alive[randomInt(alive.length)]!, 'SIGKILL');
  }
}

test('no login that was answered is missing afterwards', async () => {
  const terminals = await operator.provisionMany(CALLERS * TERMINALS_EACH);
  const fleet = terminals.map((terminal): Known => ({ terminal, answered: [], sent: 0, unsure: false }));
  let over = false;
  const call = async (own: Known[]): Promise<void> => {
    for (let n = 0; !over; n++) {
      const known = own[n % own.length]!;
      if (known.sent < LOGINS_EACH) await attempt(known);
      // At this pace all callers have frames left to the end.
      await sleep(randomInt(60));
    }
  };
  const callers = Array.from({ length: CALLERS }, (_, i) =>
    call(fleet.slice(i * TERMINALS_EACH, (i + 1) * TERMINALS_EACH)),
  );
  await Promise.race([killAtRandom(), Promise.all(callers)]);
  over = true;
  await Promise.all(callers);

  const sessions = new Map(
    (
      await operator.sql<{ serial: string; id: string | null }>(
        `SELECT t.serial, encode(s.session_id, 'hex') AS id FROM m2m.session AS s JOIN m2m.terminal AS t ON t.id = s.terminal_id`,
      )
    ).map(({ serial, id }) => [serial, id]),
  );
  const certain = fleet.filter(({ answered, unsure }) => answered.length > 0 && !unsure);
  for (const { terminal, answered } of certain)
    expect(sessions.get(terminal.serial)).toBe(answered.at(-1)!.session);

  let replayed = 0;
  for (const { answered } of fleet) {
    // A connection is held to one serial.
    const raw = await RawTerminal.open(gateway);
    for (const { frame } of answered) {
      expect((await raw.ask(frame)).result).toBe(RESULT.REPLAY);
      replayed++;
    }
    raw.close();
  }
  const unsure = fleet.filter((known) => known.unsure).length;
  process.stdout.write(
    `${KILLS} kills: ${replayed} answered logins, all remembered; ${certain.length} sessions as answered, ${unsure} unsure\n`,
  );
  expect(replayed).toBeGreaterThan(KILLS * 10);
});
