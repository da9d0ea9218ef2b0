/** The primary crashes while terminals log in; its synchronous standby is promoted under the same address. */
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '../../src/platform/store/migrate';
import { DebianServers, testWithDebianServer, type DebianServer } from '../support/debianServer';
import { startGateway, testHome, type GatewayProcess } from '../support/gateway';
import { Keeper, newBook, seeded, type Book } from '../support/keeper';
import { newTerminal, Operator } from '../support/operator';
import type { Terminal } from '../support/oracle';
import { Wire } from '../support/wire';

const SEED = Number(process.env['M2M_TEST_SEED'] ?? Date.now() % 1e9);
const TERMINALS = 20;

let servers: DebianServers | undefined;
let wires: Wire[] = [];
let gateways: GatewayProcess[] = [];

afterAll(async () => {
  await Promise.all(gateways.map((gateway) => gateway.kill()));
  await Promise.all(wires.map((wire) => wire.close()));
  await servers?.close();
});

/** An operator who asks the server that is the primary now, until he has an answer. */
class Persistent {
  constructor(private readonly current: () => DebianServer) {}

  async sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    for (;;) {
      try {
        const operator = await Operator.connect(this.current().url);
        const rows = await operator.sql<Row>(text, values);
        await operator.close();
        return rows;
      } catch {
        await sleep(200);
      }
    }
  }
}

async function provision(operator: Operator): Promise<Terminal[]> {
  const terminals = Array.from({ length: TERMINALS }, () => newTerminal());
  for (const one of terminals)
    await operator.sql('SELECT m2m.provision_terminal($1, $2, $3, $4, $5, $6)', [
      one.serial,
      one.imei,
      one.imsi,
      one.uplinkPassword,
      one.downlinkPassword,
      one.baseKey,
    ]);
  return terminals;
}

async function lead(book: Book, terminal: Terminal, goesOn: () => boolean): Promise<void> {
  const somewhere = () => gateways[Math.floor(book.random() * gateways.length)]!;
  const keeper = new Keeper(book, terminal);
  while (goesOn()) {
    await keeper.round(somewhere);
    // None may have more than 64 logins within ten minutes.
    await sleep(300 + book.random() * 1_000);
  }
  await keeper.logIn(somewhere);
  await keeper.compare();
  keeper.leave();
}

testWithDebianServer(`failover, seed ${SEED}`, async () => {
  servers = new DebianServers();
  const one = await servers.primary();
  await migrate(one.url);
  const two = await servers.standbyOf(one);
  wires = await Promise.all([Wire.to(one.url), Wire.to(one.url)]);
  const home = testHome();
  gateways = await Promise.all(
    wires.map((wire) =>
      startGateway({ databaseUrl: wire.through, home, environment: { M2M_DATABASE_TIMEOUT: '8' } }),
    ),
  );
  const owner = await Operator.connect(one.url);
  const terminals = await provision(owner);
  let primary = one;
  const book = newBook(new Persistent(() => primary), seeded(SEED));
  let over = false;
  const leading = terminals.map((terminal) => lead(book, terminal, () => !over));
  await sleep(8_000);

  const began = performance.now();
  await one.crash();
  // The address leads to a standby for a while: it reads as well as ever.
  for (const wire of wires) wire.lead(two.url);
  await sleep(3_000);
  const early = gateways.flatMap(({ log }) => log.filter((line) => line['event.action'] === 'database-back'));
  const promoted = performance.now();
  await two.promote();
  primary = two;
  await Promise.all(
    gateways.map((gateway) => gateway.logged((line) => line['event.action'] === 'database-back')),
  );
  const back = performance.now();
  await sleep(8_000);
  over = true;
  await Promise.all(leading);
  home.remove();
  process.stdout.write(
    `seed ${SEED}: promoted after ${Math.round(promoted - began)} ms, logins served ${Math.round(back - promoted)} ms later\n` +
      [...book.counts]
        .map(([what, times]) => `  ${what}: ${times}\n`)
        .sort()
        .join(''),
  );
  expect(early).toEqual([]);
  expect(book.faults).toEqual([]);
  const errors = gateways.flatMap(({ log }) =>
    log.filter((line) => line['event.action'] === 'internal-error'),
  );
  expect(errors).toEqual([]);
});
