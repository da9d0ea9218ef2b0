/**
 * The database's disk is really full: of its data, where the server says so and lives, and of its write-ahead log,
 * where it goes down. When there is room again all is well, by the same gateway.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '../../src/platform/store/migrate';
import { DebianServers, testWithDebianServer, type DebianServer } from '../support/debianServer';
import { mayMount, SmallDisk } from '../support/disk';
import { eventually } from '../support/eventually';
import { startGateway, testHome, type GatewayProcess, type LogLine, type TestHome } from '../support/gateway';
import { newBook, seeded, type Book } from '../support/keeper';
import { countsOf, lead, Persistent, provisionEach } from '../support/keepers';
import { Operator } from '../support/operator';
import { heartbeat, login, RESULT } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const SEED = Number(process.env['M2M_TEST_SEED'] ?? Date.now() % 1e9);
const TERMINALS = 20;
/** A server of PostgreSQL 15 that has nothing in it takes 23 MB without its write-ahead log. */
const SIZE = '96m';

const whereMountable = mayMount() ? testWithDebianServer : test.skip;
const isAction = (action: string) => (line: LogLine) => line['event.action'] === action;

let servers: DebianServers;
let disk: SmallDisk;
let home: TestHome;
let gateway: GatewayProcess | undefined;

beforeEach(() => {
  servers = new DebianServers();
  home = testHome();
  disk = SmallDisk.mount(servers.folder('disk'), SIZE);
});

afterEach(async () => {
  await gateway?.kill();
  gateway = undefined;
  await servers.close(() => disk.unmount());
  home.remove();
});

/** Terminals on a gateway, and one that has nothing to do with the others and stays. */
async function operated(server: DebianServer) {
  await migrate(server.url);
  const operator = new Persistent(() => server.url);
  const [inside, ...terminals] = await provisionEach(operator, TERMINALS + 1);
  gateway = await startGateway({ databaseUrl: server.url, home });
  const raw = await RawTerminal.open(gateway);
  expect((await raw.ask(login(inside!))).result).toBe(RESULT.OK);
  let sequence = 1;
  const beat = async () => (await raw.askOnce(heartbeat(inside!, { sequence: ++sequence }))).result;
  const book = newBook(operator, seeded(SEED));
  let over = false;
  const leading = terminals.map((terminal) => lead(book, terminal, [gateway!], () => !over));
  const atRest = async () => {
    over = true;
    await Promise.all(leading);
    raw.close();
  };
  return { gateway, book, beat, atRest };
}

const busy = (book: Book): number => book.counts.get('login: BUSY') ?? 0;

/** Until logins are refused for it. */
async function refused({ log }: GatewayProcess, book: Book): Promise<void> {
  const before = busy(book);
  await eventually('logins that are told BUSY', () => busy(book) > before + 20);
  expect(log.filter(isAction('database-lost')).length).toBeGreaterThan(0);
}

async function isWell({ log, ops }: GatewayProcess, book: Book, atRest: () => Promise<void>): Promise<void> {
  await eventually('a database that is back', async () => {
    return (await fetch(`${ops}/readyz`)).status === 200 || undefined;
  });
  await atRest();
  const lost = log.filter(isAction('database-lost')).map((line) => line['error.message']);
  process.stdout.write(`seed ${SEED}, lost ${lost.length} times: ${JSON.stringify([...new Set(lost)])}\n`);
  process.stdout.write(countsOf(book));
  expect(book.faults).toEqual([]);
  expect(log.filter(isAction('internal-error'))).toEqual([]);
}

whereMountable('no room for data: the server says so, and lives', async () => {
  const server = await servers.primary(disk.place, '-X', servers.folder('wal'));
  const { gateway, book, beat, atRest } = await operated(server);
  await sleep(2_000);
  // Rows are written in place as long as old ones may be thrown away: somebody still looks at them, as a dump does.
  const dump = await Operator.connect(server.url);
  await dump.sql('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await dump.sql('SELECT count(*) FROM m2m.session');
  disk.fill();
  await refused(gateway, book);
  expect(await beat()).toBe(RESULT.OK);
  expect(gateway.log.find(isAction('database-lost'))?.['error.message']).toMatch(
    /could not extend file .*No space left on device/,
  );
  disk.makeRoom();
  await dump.close();
  expect(await beat()).toBe(RESULT.OK);
  await isWell(gateway, book, atRest);
  expect(server.hasEnded).toBe(false);
});

whereMountable('no room for the write-ahead log: the server goes down', async () => {
  const server = await servers.primary(disk.place, '--wal-segsize=1');
  const { gateway, book, beat, atRest } = await operated(server);
  await sleep(2_000);
  disk.fill();
  // What is there of the log already is soon used up.
  const writer = await Operator.connect(server.url);
  const write = () => writer.sql(`SELECT pg_logical_emit_message(true, 'test', repeat('x', 500000))`);
  await eventually('a server that crashes', () =>
    write().then(
      () => undefined,
      (error: Error) => error,
    ),
  );
  await refused(gateway, book);
  expect(await beat()).toBe(RESULT.OK);
  disk.makeRoom();
  await server.isUp(true);
  await isWell(gateway, book, atRest);
});
