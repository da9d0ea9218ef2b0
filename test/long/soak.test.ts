/**
 * Thousands of logins, failures, changes of credentials and connections that break off, for SOAK_SECONDS: memory and
 * handles of the gateway stay as they were.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { newTerminal, Operator } from '../support/operator';
import {
  credentialChange,
  credentialConfirm,
  heartbeat,
  login,
  loginForKey,
  logout,
  RESULT,
  TAG,
  unwrap,
  type Parsed,
  type Terminal,
} from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { median } from '../support/statistics';

const SECONDS = Number(process.env['SOAK_SECONDS'] ?? 180);
/** Milliseconds between what a caller does: a long soak leaves the machine to others. */
const REST = Number(process.env['SOAK_REST'] ?? 0);
const SAMPLES = 12;
/** Until then caches fill and code is compiled. */
const SETTLED_AFTER = 3;
const CALLERS = 20;
/** Enough that there are logins to the end: each terminal has LOGINS_EACH. */
const TERMINALS_EACH = Math.max(60, Math.ceil(SECONDS / 15));
/** Below what the memory of one terminal holds. */
const LOGINS_EACH = 60;
/** Visits. */
const FAILS_ONCE_IN = 8;
const UPLINK = 1;
const MIB = 1024 * 1024;
const MORE_HEAP = 8 * MIB;
const MORE_HANDLES = 5;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;
const done = { logins: 0, failures: 0, changes: 0, disconnects: 0 };

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: {
      NODE_OPTIONS: `--require=${require.resolve('../support/collectGarbage.js')}`,
      M2M_TIMESTAMP_WINDOW: '3600',
      M2M_REFUSAL_DELAY: '5',
    },
  });
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await database?.drop();
  home?.remove();
});

interface Owned {
  terminal: Terminal;
  logins: number;
  sequence: number;
}

const UNDER_BASE_KEY = { keyProof: true } as const;
const dial = () => RawTerminal.open(gateway, `127.0.${randomInt(20, 60)}.${randomInt(1, 250)}`);

/** A new uplink password, taken or left pending. */
async function change(raw: RawTerminal, owned: Owned): Promise<void> {
  const { terminal } = owned;
  const asked = credentialChange(UPLINK)(terminal, { sequence: ++owned.sequence, ...UNDER_BASE_KEY });
  const answer: Parsed = await raw.ask(asked);
  const value = answer.tlvs.get(TAG.NEW_UPLINK_PASSWORD);
  // Somebody held its row just then.
  if (answer.result !== RESULT.OK || value === undefined) return;
  const changed = { ...terminal, uplinkPassword: unwrap(terminal.baseKey, value)! };
  const id = answer.tlvs.get(TAG.CHANGE_ID)!.readUInt32BE(0);
  const confirm = credentialConfirm(id)(changed, { sequence: ++owned.sequence, ...UNDER_BASE_KEY });
  const confirmed = await raw.ask(confirm);
  if (confirmed.result === RESULT.OK) owned.terminal = changed;
  done.changes++;
}

/** What a terminal does from dialling to hanging up, or falling silent. */
async function visit(owned: Owned): Promise<void> {
  const raw = await dial();
  const { terminal } = owned;
  const frame = owned.logins % 2 === 0 ? loginForKey : login;
  expect((await raw.ask(frame(terminal, { sequence: ++owned.sequence }))).result).toBe(RESULT.OK);
  owned.logins++;
  done.logins++;
  await raw.ask(heartbeat(terminal, { sequence: ++owned.sequence }));
  if (randomInt(4) === 0) await change(raw, owned);
  if (randomInt(2) === 0) await raw.ask(logout(owned.terminal, { sequence: ++owned.sequence }));
  else done.disconnects++;
  raw.close();
}

async function fail({ terminal }: Owned): Promise<void> {
  const raw = await dial();
  const who = randomInt(2) === 0 ? terminal : newTerminal();
  const { result } = await raw.ask(login(who, { password: Buffer.from('something else') }));
  expect(result).toBe(RESULT.AUTH_FAILED);
  done.failures++;
  raw.close();
}

let pausing = false;
let resting = 0;
let over = false;

async function call(own: readonly Owned[]): Promise<void> {
  for (let n = 0; !over; n++) {
    if (pausing) {
      resting++;
      while (pausing) await sleep(20);
      resting--;
    }
    const owned = own[n % own.length]!;
    const isUsedUp = owned.logins >= LOGINS_EACH;
    if (!isUsedUp) await visit(owned);
    if (randomInt(FAILS_ONCE_IN) === 0) await fail(owned);
    // However fast the machine is, failures stay few: what is remembered of them takes memory for ten minutes.
    if (isUsedUp || REST > 0) await sleep(Math.max(REST, 100));
  }
}

async function metrics(): Promise<Map<string, number>> {
  const page = await (await fetch(`${gateway.ops}/metrics`, { headers: { connection: 'close' } })).text();
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

/** What the gateway holds while nobody is connected, its garbage collected. */
async function holds(): Promise<{ heap: number; handles: number }> {
  pausing = true;
  await eventually('rest', async () => {
    const now = await metrics();
    return resting === CALLERS && now.get('m2m_connections') === 0;
  });
  await sleep(1_500);
  gateway.child.kill('SIGUSR2');
  await sleep(500);
  const now = await metrics();
  pausing = false;
  return {
    heap: now.get('nodejs_heap_size_used_bytes')!,
    handles: now.get('nodejs_active_resources_total')!,
  };
}

test(
  'memory and handles stay as they were',
  async () => {
    const terminals = await operator.provisionMany(CALLERS * TERMINALS_EACH);
    const fleet = terminals.map((terminal): Owned => ({ terminal, logins: 0, sequence: 0 }));
    const callers = Array.from({ length: CALLERS }, (_, i) =>
      call(fleet.slice(i * TERMINALS_EACH, (i + 1) * TERMINALS_EACH)),
    );
    const working = Promise.all(callers);
    const samples: { heap: number; handles: number }[] = [];
    const sampling = async () => {
      for (let n = 0; n < SAMPLES; n++) {
        await sleep((SECONDS * 1000) / SAMPLES);
        samples.push(await holds());
      }
      over = true;
    };
    await Promise.all([working, sampling()]);
    const later = samples.slice(SETTLED_AFTER);
    const [early, late] = [later.slice(0, 3), later.slice(-3)];
    const grown = median(late.map(({ heap }) => heap)) - median(early.map(({ heap }) => heap));
    const more = median(late.map(({ handles }) => handles)) - median(early.map(({ handles }) => handles));
    process.stdout.write(
      `${SECONDS} s: ${JSON.stringify(done)}; heap ${samples.map(({ heap }) => (heap / MIB).toFixed(1)).join(' ')} MiB, ` +
        `handles ${samples.map(({ handles }) => handles).join(' ')}\n`,
    );
    expect(grown).toBeLessThan(MORE_HEAP);
    expect(more).toBeLessThanOrEqual(MORE_HANDLES);
    expect(done.logins).toBeGreaterThan(SAMPLES);
  },
  (SECONDS + 1_200) * 1_000,
);
