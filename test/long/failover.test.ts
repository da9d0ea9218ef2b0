/** The primary crashes while terminals log in; its synchronous standby is promoted under the same address. */
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '../../src/platform/store/migrate';
import { DebianServers, testWithDebianServer } from '../support/debianServer';
import { startGateway, testHome, type GatewayProcess } from '../support/gateway';
import { newBook, seeded } from '../support/keeper';
import { countsOf, lead, Persistent, provisionEach } from '../support/keepers';
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
  let primary = one;
  const operator = new Persistent(() => primary.url);
  const terminals = await provisionEach(operator, TERMINALS);
  const book = newBook(operator, seeded(SEED));
  let over = false;
  const leading = terminals.map((terminal) => lead(book, terminal, gateways, () => !over));
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
      countsOf(book),
  );
  expect(early).toEqual([]);
  expect(book.faults).toEqual([]);
  const errors = gateways.flatMap(({ log }) =>
    log.filter((line) => line['event.action'] === 'internal-error'),
  );
  expect(errors).toEqual([]);
});
