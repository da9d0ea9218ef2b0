/** 100,000 challenges for serials that nobody knows: memory and database stay as they were. */
import { randomBytes } from 'node:crypto';
import { createDatabase } from '../support/database';
import { startGateway, testHome, type GatewayProcess } from '../support/gateway';
import { newTerminal, Operator } from '../support/operator';
import { authChallenge } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const CONNECTIONS = 50;
const EACH = 2_000;
const AT_ONCE = 50;
const MIB = 1024 * 1024;

async function residentMemory(gateway: GatewayProcess): Promise<number> {
  const text = await (await fetch(`${gateway.ops}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1]);
}

async function flood(gateway: GatewayProcess, each: number): Promise<void> {
  const serve = async (): Promise<void> => {
    for (let sent = 0; sent < each; sent += AT_ONCE) {
      const socket = await RawTerminal.open(gateway);
      socket.send(...Array.from({ length: AT_ONCE }, () => authChallenge(randomBytes(16))(newTerminal())));
      for (let n = 0; n < AT_ONCE; n++) await socket.next();
      socket.close();
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, serve));
}

test('a flood of challenges', async () => {
  const database = await createDatabase();
  const home = testHome();
  const gateway = await startGateway({
    databaseUrl: database.url,
    home,
    environment: { M2M_REFUSAL_DELAY: '0' },
  });
  const operator = await Operator.connect(database.url);
  const size = () => operator.sql('SELECT pg_database_size(current_database())::bigint AS size');
  try {
    await flood(gateway, EACH / 10);
    const [memory, [before]] = [await residentMemory(gateway), await size()];
    await flood(gateway, EACH);
    const [grown, [after]] = [(await residentMemory(gateway)) - memory, await size()];
    process.stdout.write(
      `100,000 challenges: memory ${(grown / MIB).toFixed(1)} MiB more, database ${JSON.stringify([before, after])}\n`,
    );
    expect(grown).toBeLessThan(64 * MIB);
    expect(Number(after!['size']) - Number(before!['size'])).toBeLessThan(MIB);
  } finally {
    await operator.close();
    await gateway.stop();
    await database.drop();
    home.remove();
  }
});
