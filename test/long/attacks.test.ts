/**
 * Sessions that stand do not notice attacks: how long their heartbeats wait, in turns without and with an attack, one
 * after the other, so that it does not matter how fast the machine is or becomes meanwhile. Honest terminals log in all
 * the while, as no gateway is ever without logins.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { constants, cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Crew, prioritise } from '../support/crew';
import { createDatabase, type TestDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { median } from '../support/statistics';
import type { AttackerOrders } from './attacks/attacker';
import type { HeartbeatOrders, Waits } from './attacks/heartbeats';
import { ATTACKS, EVERYDAY, type Attack } from './attacks/table';

const TURNS = Number(process.env['ATTACK_TURNS'] ?? 5);
/** So many times as many turns, where something else on the machine may have come between. */
const PATIENCE = 3;
const SESSIONS = 50;
const BEATS_PER_SECOND = 500;
const VICTIMS = 1_000;
/** Terminals that log in all the while, and that nobody attacks. */
const HONEST = 1_000;
/** Share of them that get in: some may be on their way still when the turn ends. */
const LEAST_HONEST = 0.97;
const TURN_MS = 3_000;
/** An attack gets under way before its turn is measured. */
const ONSET_MS = 1_000;
/** Milliseconds that the p99 may be worse besides being twice as long: about one slice of the scheduler. */
const FLOOR_MS = Number(process.env['ATTACK_FLOOR'] ?? 3);
/** Of the machine's processor time, that must be left while an attack is on: otherwise it measures the machine. */
const IDLE_LEFT = 0.2;
const MIB = 1024 * 1024;
/** For what the gateway may remember of strangers for some minutes: failed attempts, serials that nobody has. */
const MORE_HEAP = 16 * MIB;
/** Connections to the database come and go. */
const MORE_FILES = 10;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;
let callers: Crew<HeartbeatOrders>;
let attacker: Crew<AttackerOrders>;
let honest: Crew<AttackerOrders>;
const rows: string[] = [];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: {
      NODE_OPTIONS: `--require=${require.resolve('../support/collectGarbage.js')}`,
      M2M_LOG_FILE: join(home.directory, 'gateway.log'),
      // Both are 0.3 of what they are by default, so that a turn sees what a longer attack comes to.
      M2M_LOGIN_DEADLINE: '3',
      M2M_MAX_NEWCOMERS: '300',
    },
  });
  operator = await Operator.connect(database.url);
  const terminals = await operator.provisionMany(SESSIONS + VICTIMS + HONEST);
  const where = { host: gateway.host, port: gateway.port };
  // As if each had a machine of its own: what is measured is the wait for the gateway, not for the scheduler.
  const { PRIORITY_HIGHEST, PRIORITY_HIGH, PRIORITY_LOW } = constants.priority;
  prioritise(gateway.child, PRIORITY_HIGH);
  callers = Crew.start<HeartbeatOrders>(join(__dirname, 'attacks', 'heartbeats.ts'), PRIORITY_HIGHEST);
  honest = Crew.start<AttackerOrders>(join(__dirname, 'attacks', 'attacker.ts'), PRIORITY_LOW);
  attacker = Crew.start<AttackerOrders>(join(__dirname, 'attacks', 'attacker.ts'), PRIORITY_LOW);
  await callers.ask('logIn', { where, terminals: terminals.slice(0, SESSIONS) });
  await attacker.ask('meet', { where, victims: terminals.slice(SESSIONS, SESSIONS + VICTIMS) });
  await honest.ask('meet', { where, victims: terminals.slice(SESSIONS + VICTIMS) });
  await measure();
});

afterAll(async () => {
  await callers?.end();
  await attacker?.end();
  await honest?.end();
  await operator?.close();
  await gateway?.stop();
  await database?.drop();
  home?.remove();
  process.stdout.write(`${rows.join('\n')}\n`);
});

const measure = (): Promise<Waits> => callers.ask('measure', { perSecond: BEATS_PER_SECOND, ms: TURN_MS });

/** Milliseconds of a processor. */
function gatewayTime(): number {
  const fields = readFileSync(`/proc/${gateway.child.pid!}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function machineTime(): { idle: number; all: number } {
  const times = cpus().map((cpu) => cpu.times);
  const all = times.reduce((sum, time) => sum + Object.values(time).reduce((one, other) => one + other), 0);
  return { idle: times.reduce((sum, { idle }) => sum + idle, 0), all };
}

interface Turn extends Waits {
  /** Milliseconds of the gateway's processor time, and the share of the machine's that nobody used. */
  readonly spent: number;
  readonly idle: number;
  /** Of the honest logins, those that were answered with OK. */
  readonly honest: number;
}

async function measured(): Promise<Omit<Turn, 'honest'>> {
  const [spent, before] = [gatewayTime(), machineTime()];
  const waits = await measure();
  const after = machineTime();
  const idle = (after.idle - before.idle) / (after.all - before.all);
  return { ...waits, spent: gatewayTime() - spent, idle };
}

/** A turn in which only happens what happens every day, and the attack if there is one. */
async function turn(attack?: Attack, perSecond = attack?.perSecond ?? 0): Promise<Turn> {
  const ms = ONSET_MS + TURN_MS;
  const everyday = honest.ask('attack', { name: EVERYDAY.name, perSecond: EVERYDAY.perSecond, ms });
  const attacking = attack && attacker.ask('attack', { name: attack.name, perSecond, ms });
  await sleep(ONSET_MS);
  const seen = await measured();
  const { acts, admitted } = await everyday;
  await attacking;
  await sleep(ONSET_MS / 2);
  return { ...seen, honest: admitted / acts };
}

async function metrics(): Promise<Map<string, number>> {
  const page = await (await fetch(`${gateway.ops}/metrics`, { headers: { connection: 'close' } })).text();
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

interface Holding {
  readonly heap: number;
  readonly files: number;
}

/** What the gateway holds when nobody is connected but the sessions that stand. */
async function holds(): Promise<Holding> {
  await eventually('connections that end', async () => {
    return (await metrics()).get('m2m_connections') === SESSIONS;
  });
  gateway.child.kill('SIGUSR2');
  await sleep(500);
  const heap = (await metrics()).get('nodejs_heap_size_used_bytes')!;
  return { heap, files: readdirSync(`/proc/${gateway.child.pid!}/fd`).length };
}

/** Where the attack takes what is left of the machine it goes at half the rate, or half of that. */
async function bearableRate(attack: Attack): Promise<number> {
  for (let rate = attack.perSecond; ; rate /= 2) {
    const [quiet, under] = [await turn(), await turn(attack, rate)];
    const bears = under.idle > IDLE_LEFT || quiet.idle - under.idle < IDLE_LEFT / 2;
    if (bears || rate <= attack.perSecond / 8) return rate;
  }
}

const p99 = (turns: readonly Turn[]): number => median(turns.map((one) => one.p99));
const isBorne = (quiet: readonly Turn[], under: readonly Turn[]): boolean =>
  p99(under) < 2 * p99(quiet) + FLOOR_MS;

function tell({ name }: Attack, rate: number, quiet: Turn[], under: Turn[], before: Holding, after: Holding) {
  const of = (turns: Turn[], what: (turn: Turn) => number, digits = 1) =>
    median(turns.map(what)).toFixed(digits);
  const spent = median(under.map((one) => one.spent)) - median(quiet.map((one) => one.spent));
  const cells = [
    name,
    `${rate} (${under.length})`,
    of(quiet, ({ p50 }) => p50, 2),
    of(under, ({ p50 }) => p50, 2),
    of(quiet, ({ p99 }) => p99),
    of(under, ({ p99 }) => p99),
    ((spent * 1000) / (rate * (TURN_MS / 1000))).toFixed(0),
    of(under, ({ idle }) => idle * 100, 0),
    ((after.heap - before.heap) / MIB).toFixed(1),
    after.files - before.files,
  ];
  rows.push(`| ${cells.join(' | ')} |`);
  process.stdout.write(`${rows.at(-1)!}\n`);
}

test.each(ATTACKS)('$name', async (attack) => {
  const rate = await bearableRate(attack);
  const before = await holds();
  const [quiet, under]: [Turn[], Turn[]] = [[], []];
  for (let n = 0; n < TURNS || (n < PATIENCE * TURNS && !isBorne(quiet, under)); n++) {
    quiet.push(await turn());
    under.push(await turn(attack, rate));
  }
  const after = await eventually('descriptors that are closed', async () => {
    const now = await holds();
    return now.files <= before.files + MORE_FILES ? now : undefined;
  });
  tell(attack, rate, quiet, under, before, after);
  for (const { sent, answered, closed } of [...quiet, ...under])
    expect({ answered, closed }).toEqual({ answered: sent, closed: 0 });
  expect(Math.min(...[...quiet, ...under].map((one) => one.honest))).toBeGreaterThan(LEAST_HONEST);
  expect(after.heap - before.heap).toBeLessThan(MORE_HEAP);
  expect({ quiet: p99(quiet), under: p99(under), isBorne: isBorne(quiet, under) }).toMatchObject({
    isBorne: true,
  });
});
