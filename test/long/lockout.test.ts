/**
 * Terminals on bad lines change their secrets, operators change them too and change their minds, texts come late or
 * never, and workers and gateways are killed. When all is quiet each terminal gets in with what it may try, and holds
 * what the platform holds; and nobody gets in with anything else that was ever good.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { seeded } from '../support/keeper';
import { Operator } from '../support/operator';
import { login, RESULT, SUITE } from '../support/oracle';
import { RawTerminal } from '../support/socket';
import { provisionSealedPhone } from '../support/texts';
import { WebhookServer } from '../support/webhook';
import { noteSecret } from '../support/secrets';
import { Device } from './lockout/device';
import { FATES, isForLater, Lost, Visitor, type Fate, type World } from './lockout/visitor';

const EPISODES = Number(process.env['M2M_TEST_EPISODES'] ?? 600);
const SEED = Number(process.env['M2M_TEST_SEED'] ?? Date.now() % 1e9);
const AT_ONCE = 20;
const STEPS = 16;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let gateway: GatewayProcess;
let webhook: WebhookServer;
let listen = '127.0.0.12:0';
const counts = new Map<string, number>();
const count = (what: string) => void counts.set(what, (counts.get(what) ?? 0) + 1);

const start = async () => {
  gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: { M2M_WORKERS: '2', M2M_LISTEN: listen, M2M_SMS: `http://127.0.0.1:${webhook.port}/` },
  });
  listen = `${gateway.host}:${gateway.port}`;
};

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  webhook = await WebhookServer.start();
  await start();
  operator = await Operator.connect(database.url);
});

afterAll(async () => {
  await operator?.close();
  await gateway?.stop();
  await webhook?.stop();
  await database?.drop();
  home?.remove();
});

interface Life {
  readonly visitor: Visitor;
  readonly random: () => number;
  readonly number: number;
  /** What it met with, for whoever looks for a fault. */
  readonly story: string[];
}

const sql = (text: string, { visitor }: Life, ...more: unknown[]) =>
  operator.sql(text, [visitor.device.terminal.serial, ...more]);

/** Each terminal and each stranger has an address of its own: failed attempts are counted by it. */
const addressOf = (number: number) => `127.${40 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;

async function newLife(number: number): Promise<Life> {
  const random = seeded(SEED + number);
  const baseKeySize = random() < 0.5 ? 16 : 32;
  const { terminal, phone } = await provisionSealedPhone(operator, { baseKeySize });
  // Some texts are lost; some come twice, the gateway having heard nothing of the first.
  webhook.answer(phone, ...[204, 503, 204, 400].filter(() => random() < 0.6), 204);
  const story: string[] = [];
  const world: World = {
    where: () => ({ host: gateway.host, port: gateway.port }),
    texts: () => webhook.to(phone).map(({ body }) => body.text),
    random,
    count: (what) => {
      count(what);
      story.push(what);
    },
  };
  const device = new Device(terminal, random() < 0.5 ? SUITE.MD5 : SUITE.HMAC);
  return { visitor: new Visitor(world, device, addressOf(number)), random, number, story };
}

const one = <T>(from: readonly T[], random: () => number): T => from[Math.floor(random() * from.length)]!;

/** What operators do while terminals are at work. */
const MEANWHILE: readonly ((life: Life) => Promise<unknown>)[] = [
  (life) =>
    sql(`SELECT m2m.request_credential_change($1, $2)`, life, [
      one(['uplink', 'downlink', 'base_key'], life.random),
    ]),
  (life) => sql('SELECT m2m.cancel_credential_change($1)', life),
  (life) => sql('SELECT m2m.disconnect_terminal($1)', life),
  async (life) => {
    await sql(`SELECT m2m.suspend_terminal($1, 'for a moment')`, life);
    await sleep(life.random() * 40);
    await sql('SELECT m2m.resume_terminal($1)', life);
  },
];

/** Some of a terminal's secrets are set anew, and brought to it. */
async function setCredentials(life: Life): Promise<void> {
  const { visitor, random, story } = life;
  visitor.leave();
  const some = (size: number) => (random() < 0.5 ? noteSecret(randomBytes(size)) : undefined);
  const set = { uplinkPassword: some(12), downlinkPassword: some(16), baseKey: some(one([16, 32], random)) };
  const { uplinkPassword, downlinkPassword, baseKey } = set;
  const given = Object.entries(set).filter(([, value]) => value !== undefined);
  // It voids nothing then.
  if (given.length === 0) return;
  await sql('SELECT m2m.set_credentials($1, $2, $3, $4)', life, uplinkPassword, downlinkPassword, baseKey);
  visitor.device.set(Object.fromEntries(given));
  story.push('set');
}

async function step(life: Life): Promise<void> {
  const { visitor, random } = life;
  const fate: Fate = random() < 0.35 ? one(FATES, random) : undefined;
  const what = random();
  if (what < 0.04) return setCredentials(life);
  if (what < 0.1) return visitor.arriveLate();
  // A second connection: the first one stands, for the gateway to see to.
  if (what < 0.16) visitor.forget();
  if (!visitor.isIn) return void (await visitor.logIn(random() < 0.5, fate));
  if (what < 0.5) {
    const targets = 1 + Math.floor(random() * 7);
    return visitor.change(targets, one([undefined, 1, 2], random), random() < 0.7, fate);
  }
  if (what < 0.75) return void (await visitor.confirm(fate));
  if (what < 0.84) return visitor.takeText();
  if (what < 0.9) return visitor.askKey(fate);
  return what < 0.95 ? visitor.beat(fate) : visitor.logOut(fate);
}

async function live(life: Life): Promise<void> {
  const { random } = life;
  for (let n = 0; n < STEPS; n++) {
    const meanwhile =
      random() < 0.15 ? sleep(random() * 15).then(() => one(MEANWHILE, random)(life)) : undefined;
    try {
      await step(life);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      count(error.message);
      life.story.push(error.message);
      if (error.message === 'no connection') await sleep(200);
    }
    await meanwhile;
  }
}

/** With a line that holds, and a gateway that may still be busy with what was before. */
async function patiently(attempt: () => Promise<number | undefined>): Promise<number | undefined> {
  for (let n = 0; n < 200; n++) {
    const result = await attempt().catch((error: unknown) => {
      if (!(error instanceof Lost)) throw error;
      return RESULT.BUSY;
    });
    if (result === undefined || !isForLater(result)) return result;
    await sleep(250);
  }
  return RESULT.BUSY;
}

async function judge(life: Life): Promise<string[]> {
  const { visitor } = life;
  const { faults } = visitor;
  while (visitor.hasUnderWay) visitor.arriveLate();
  await sleep(100);
  visitor.leave();
  for (const withKey of [false, true]) {
    const result = await patiently(() => visitor.logIn(withKey));
    if (result !== RESULT.OK) return [...faults, `locked out: ${result}${withKey ? ' with a key' : ''}`];
  }
  // Nor with what a text has brought, before it is confirmed.
  await strangers(life);
  const confirmed = await patiently(() => visitor.confirm());
  if (confirmed === RESULT.OK && (await pendingOf(life)) !== null) faults.push('pending still');
  await strangers(life);
  visitor.leave();
  const last = await patiently(() => visitor.logIn(true));
  return last === RESULT.OK ? faults : [...faults, `locked out at last: ${last}`];
}

/** With every password that the terminal ever had, but for those that may be good. */
async function strangers(life: Life): Promise<void> {
  const { device, faults } = life.visitor;
  for (const password of device.had.uplinkPassword) {
    if (device.candidates('uplinkPassword').some((good) => good.equals(password))) continue;
    if (await isLetIn(life, password)) faults.push('let in with what is not good');
  }
}

async function pendingOf(life: Life): Promise<string | null> {
  const [row] = await sql('SELECT pending_change FROM m2m.terminal_status WHERE serial = $1', life);
  return (row as { pending_change: string | null }).pending_change?.startsWith('pending') ? 'pending' : null;
}

async function isLetIn({ visitor, number }: Life, password: Buffer): Promise<boolean> {
  const result = await patiently(async () => {
    const where = { host: gateway.host, port: gateway.port };
    const socket = await RawTerminal.open(where, addressOf(number + EPISODES));
    const answer = await socket.ask(
      login(visitor.device.terminal, { password, sequence: visitor.device.next() }),
    );
    socket.close();
    return answer.result;
  });
  count(`with what is not good: ${result}`);
  return result !== RESULT.AUTH_FAILED;
}

function workers(): number[] {
  const pid = gateway.child.pid!;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.trim().split(' ').filter(Boolean).map(Number);
}

async function trouble(random: () => number): Promise<void> {
  const kind = random();
  await sleep(random() * 1_000);
  if (kind < 0.4) return;
  if (kind < 0.7) {
    for (const pid of workers()) if (random() < 0.7) process.kill(pid, 'SIGKILL');
    return count('workers were killed');
  }
  await gateway.kill();
  await start();
  count('the gateway was killed');
}

test(`${EPISODES} terminals, seed ${SEED}`, async () => {
  const random = seeded(SEED - 1);
  const faults: string[] = [];
  for (let first = 0; first < EPISODES && faults.length === 0; first += AT_ONCE) {
    const numbers = Array.from({ length: AT_ONCE }, (_, i) => first + i + 1);
    const lives = await Promise.all(numbers.map(newLife));
    await Promise.all([trouble(random), ...lives.map(live)]);
    await Promise.all(
      lives.map(async (life) => {
        for (const fault of await judge(life))
          faults.push(`terminal ${life.number}: ${fault}; ${life.story.join(', ')}`);
      }),
    );
    for (const { visitor } of lives) visitor.leave();
  }
  const told = [...counts].map(([what, times]) => `  ${what}: ${times}\n`).sort();
  process.stdout.write(`seed ${SEED}\n${told.join('')}`);
  expect(faults).toEqual([]);
  for (const what of ['confirm: 0', 'change: 12', 'text taken', 'late', 'dies', `with what is not good: 1`])
    expect(counts.get(what)).toBeGreaterThan(0);
});
