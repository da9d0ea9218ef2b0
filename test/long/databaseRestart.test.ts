/** The database server is restarted while terminals log in, in both ways: what they were answered holds, by the same gateways. */
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '../../src/platform/store/migrate';
import { DebianServers, testWithDebianServer } from '../support/debianServer';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine } from '../support/gateway';
import { newBook, seeded } from '../support/keeper';
import { countsOf, lead, Persistent, provisionEach } from '../support/keepers';

const SEED = Number(process.env['M2M_TEST_SEED'] ?? Date.now() % 1e9);
const RESTARTS = 5;
const GATEWAYS = 2;
const TERMINALS = 20;
/** Milliseconds. */
const LONGEST_ABSENCE = 3_000;

let servers: DebianServers | undefined;
let gateways: GatewayProcess[] = [];

afterEach(async () => {
  await Promise.all(gateways.map((gateway) => gateway.kill()));
  await servers?.close();
});

const lines =
  (action: string) =>
  ({ log }: GatewayProcess): LogLine[] =>
    log.filter((line) => line['event.action'] === action);

testWithDebianServer.each(['fast', 'immediate'] as const)(
  `pg_ctl restart -m %s, seed ${SEED}`,
  async (mode) => {
    servers = new DebianServers();
    const server = await servers.primary();
    await migrate(server.url);
    const home = testHome();
    gateways = await Promise.all(
      Array.from({ length: GATEWAYS }, () => startGateway({ databaseUrl: server.url, home })),
    );
    const random = seeded(SEED);
    const operator = new Persistent(() => server.url);
    const book = newBook(operator, random);
    const terminals = await provisionEach(operator, TERMINALS);
    let over = false;
    const leading = terminals.map((terminal) => lead(book, terminal, gateways, () => !over));

    for (let n = 0; n < RESTARTS; n++) {
      await sleep(2_000 + random() * 2_000);
      await server.restart(mode, n % 2 === 0 ? 0 : random() * LONGEST_ABSENCE);
      for (const gateway of gateways)
        await eventually('the database back', async () => {
          return (await fetch(`${gateway.ops}/readyz`)).status === 200 || undefined;
        });
    }
    over = true;
    await Promise.all(leading);
    home.remove();
    process.stdout.write(`${mode}, seed ${SEED}: ${RESTARTS} restarts\n${countsOf(book)}`);
    expect(book.faults).toEqual([]);
    expect(gateways.flatMap(lines('internal-error'))).toEqual([]);
    for (const gateway of gateways) expect(lines('database-lost')(gateway).length).toBeGreaterThan(0);
  },
);
