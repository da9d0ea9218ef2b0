/** What reseal waits for: transactions of gateways that are under way, and nothing else. */
import { Client } from 'pg';
import { statementsEnded } from '../../../src/platform/store/sealingKeys';
import { eventually } from '../../support/eventually';
import { openFixture, type Fixture } from './sqlFixture';

let fixture: Fixture;
const opened: Client[] = [];

beforeAll(async () => {
  fixture = await openFixture();
});

afterEach(() => Promise.all(opened.splice(0).map((client) => client.end())));

afterAll(() => fixture.close());

async function connect(name: string, ...settings: string[]): Promise<Client> {
  const client = new Client({ connectionString: fixture.url, application_name: name });
  await client.connect();
  opened.push(client);
  for (const setting of settings) await client.query(setting);
  return client;
}

/** @param user of the command that waits @returns what it was told, and when it is over */
function waiting(user: Client, patience = Infinity): { ended: Promise<void>; told: (readonly number[])[] } {
  const told: (readonly number[])[] = [];
  const query = (statement: { text: string }) => user.query<unknown[]>({ ...statement, rowMode: 'array' });
  return { ended: statementsEnded({ query }, { patience, onLong: (pids) => told.push(pids) }), told };
}

const pidOf = async (client: Client) =>
  (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid;

test('an open transaction is waited for, whoever looks, and he is told which it is', async () => {
  // Of a user whose state it may not see; of that server process it is not even noted.
  const stranger = await connect('m2m keys', 'SET ROLE m2m_monitor');
  const gateway = await connect('m2m-gateway', 'SET track_activities = off', 'BEGIN');
  const { ended, told } = waiting(stranger);
  let isOver = false;
  void ended.then(() => (isOver = true));
  await eventually('a line', () => told.length === 1);
  expect(told).toEqual([[await pidOf(gateway)]]);
  expect(isOver).toBe(false);
  await gateway.query('COMMIT');
  await ended;
});

test('a database whose URL names its connections', async () => {
  const gateway = await connect('named', 'BEGIN');
  const { ended, told } = waiting(await connect('named'));
  await eventually('a line', () => told.length === 1);
  expect(told).toEqual([[await pidOf(gateway)]]);
  await gateway.query('ROLLBACK');
  await ended;
});

test('nobody waits for who listens, for other programs, or for each other', async () => {
  await connect('m2m-gateway', 'LISTEN m2m_change');
  await connect('psql', 'BEGIN', 'SELECT pg_current_xact_id()');
  const two = [await connect('m2m-gateway'), await connect('m2m-gateway')];
  await Promise.all(two.map((user) => waiting(user).ended));
});

test('what was in line behind one that took long is waited for as well', async () => {
  const first = await connect('m2m-gateway', 'BEGIN');
  const { ended, told } = waiting(await connect('m2m keys'));
  await eventually('a first line', () => told.length === 1);
  const second = await connect('m2m-gateway', 'BEGIN');
  await first.query('COMMIT');
  await eventually('a second line', () => told.length === 2);
  expect(told).toEqual([[await pidOf(first)], [await pidOf(second)]]);
  await second.query('COMMIT');
  await ended;
});

test('one that never ends is given up, and named', async () => {
  const gateway = await connect('m2m-gateway', 'BEGIN');
  const { ended, told } = waiting(await connect('m2m keys'), 500);
  await expect(ended).rejects.toThrow(
    `nothing was sealed anew: what a gateway has under way, pid ${await pidOf(gateway)} in`,
  );
  expect(told).toEqual([]);
});
