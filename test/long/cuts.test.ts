/** The way to the database is cut, held up and refused at random moments: whatever a terminal was told holds. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, type TestDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from '../support/gateway';
import { Keeper, newBook, seeded, type Book } from '../support/keeper';
import { Operator } from '../support/operator';
import { Wire } from '../support/wire';

const CUTS = Number(process.env['M2M_TEST_CUTS'] ?? 300);
const SEED = Number(process.env['M2M_TEST_SEED'] ?? Date.now() % 1e9);
const TERMINALS = 24;
const ROUNDS = 10;
const TIMEOUT_S = 3;

let database: TestDatabase;
let home: TestHome;
let operator: Operator;
let wires: Wire[];
let gateways: GatewayProcess[];

beforeAll(async () => {
  database = await createDatabase();
  home = testHome();
  operator = await Operator.connect(database.url);
  wires = await Promise.all([Wire.to(database.url), Wire.to(database.url)]);
  const environment = { M2M_DATABASE_TIMEOUT: String(TIMEOUT_S) };
  gateways = await Promise.all(
    wires.map((wire) => startGateway({ databaseUrl: wire.through, home, environment })),
  );
});

afterAll(async () => {
  await Promise.all(gateways?.map((gateway) => gateway.kill()) ?? []);
  await Promise.all(wires?.map((wire) => wire.close()) ?? []);
  await operator?.close();
  await database?.drop();
  home?.remove();
});

/** Each leaves the wire as it was. */
const TROUBLES: readonly ((wire: Wire, random: () => number) => Promise<void>)[] = [
  (wire) => Promise.resolve(wire.cut()),
  (wire, random) => Promise.resolve(wire.cut(1 + Math.floor(random() * 3))),
  async (wire, random) => {
    wire.refuse();
    wire.cut();
    await sleep(random() * 1_000);
    wire.heal();
  },
  // A short stutter, and one beyond all patience after which what was sent arrives all the same.
  async (wire, random) => {
    wire.silence();
    await sleep(random() * 500);
    wire.heal();
  },
  async (wire, random) => {
    wire.silence();
    await sleep(TIMEOUT_S * 1_000 * (0.8 + random()));
    wire.heal();
  },
  async (wire, random) => {
    wire.silence();
    await sleep(random() * 1_000);
    wire.cut();
    wire.heal();
  },
  async (_, random) =>
    void (await operator.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'm2m-gateway' AND datname = current_database() AND random() < $1`,
      [random()],
    )),
];

async function trouble(random: () => number): Promise<void> {
  for (let n = 0; n < CUTS; n++) {
    await sleep(random() * 1_500);
    const wire = wires[Math.floor(random() * wires.length)]!;
    await TROUBLES[Math.floor(random() * TROUBLES.length)]!(wire, random);
  }
}

/** Terminals are replaced now and then: none may have more than 64 logins within ten minutes. */
async function lead(shared: Book, goesOn: () => boolean): Promise<void> {
  const own = await Operator.connect(database.url);
  const book = { ...shared, operator: own };
  const somewhere = () => gateways[Math.floor(book.random() * gateways.length)]!;
  while (goesOn()) {
    const keeper = new Keeper(book, await own.provision());
    for (let round = 0; round < ROUNDS && goesOn(); round++) await keeper.round(somewhere);
    await keeper.logIn(somewhere);
    await sleep(book.random() * 2_000);
    await keeper.compare();
    keeper.leave();
  }
  await own.close();
}

test(`${CUTS} cuts, seed ${SEED}`, async () => {
  const book = newBook(operator, seeded(SEED));
  let over = false;
  const leading = Array.from({ length: TERMINALS }, () => lead(book, () => !over));
  await trouble(seeded(SEED + 1));
  over = true;
  await Promise.all(leading);
  const lost = gateways.map(
    ({ log }) => log.filter((line) => line['event.action'] === 'database-lost').length,
  );
  process.stdout.write(
    `seed ${SEED}, database lost ${lost.join(' and ')} times\n${[...book.counts]
      .map(([what, times]) => `  ${what}: ${times}`)
      .sort()
      .join('\n')}\n`,
  );
  expect(book.faults).toEqual([]);
  const errors = gateways.flatMap(({ log }) =>
    log.filter((line) => line['event.action'] === 'internal-error'),
  );
  expect(errors).toEqual([]);
});
