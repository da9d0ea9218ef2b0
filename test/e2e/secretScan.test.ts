/** That a secret which gets out is found, wherever a gateway writes to: no other test says so by passing. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createDatabase } from '../support/database';
import { startGateway, testHome, type TestHome } from '../support/gateway';
import { Operator } from '../support/operator';
import { login, RESULT, TAG, type Terminal } from '../support/oracle';
import { findSecret, formsOf } from '../support/secrets';
import { RawTerminal } from '../support/socket';

const secret = randomBytes(13);
const noise = () => randomBytes(5_000);

test.each(formsOf(secret).map(([form, bytes]) => [form, bytes] as const))('found as %s', (_form, bytes) => {
  const others = [randomBytes(16), secret, randomBytes(24)];
  const before = noise();
  expect(findSecret(Buffer.concat([before, bytes, noise()]), others)?.offset).toBe(before.length);
  expect(findSecret(Buffer.concat([before, bytes]), others)).toBeDefined();
  expect(findSecret(Buffer.concat([bytes, noise()]), others)?.offset).toBe(0);
});

test('nothing is found where nothing is', () => {
  expect(findSecret(noise(), [secret])).toBeUndefined();
  expect(findSecret(Buffer.concat([secret.subarray(0, 12), noise()]), [secret])).toBeUndefined();
  expect(findSecret(Buffer.alloc(0), [secret])).toBeUndefined();
});

describe('planted', () => {
  let home: TestHome;
  beforeAll(() => (home = testHome()));
  afterAll(() => home?.remove());

  /** What a terminal says of its firmware is logged. @returns what came of the gateway's end and the database's */
  async function afterwards(
    environment: Record<string, string>,
    firmware: (terminal: Terminal) => string,
    label: (terminal: Terminal) => string,
  ): Promise<[gateway: string, database: string]> {
    const database = await createDatabase();
    const gateway = await startGateway({ databaseUrl: database.url, home, environment });
    const operator = await Operator.connect(database.url);
    const terminal = await operator.provision();
    await operator.sql('SELECT m2m.set_contact($1, NULL, $2)', [terminal.serial, label(terminal)]);
    const raw = await RawTerminal.open(gateway);
    const tlvs = [[TAG.FIRMWARE, Buffer.from(firmware(terminal))]] as const;
    expect((await raw.ask(login(terminal, { tlvs }))).result).toBe(RESULT.OK);
    raw.close();
    await operator.close();
    const outcome = (ending: Promise<unknown>) =>
      ending.then(
        () => 'nothing',
        (error: Error) => error.message,
      );
    return [await outcome(gateway.stop()), await outcome(database.drop())];
  }

  const hex = ({ uplinkPassword }: Terminal) => uplinkPassword.toString('hex');
  const base64 = ({ baseKey }: Terminal) => baseKey.toString('base64');
  const harmless = () => 'fw 2.1';

  test('on standard output', async () => {
    const [gateway, database] = await afterwards({}, hex, harmless);
    expect(gateway).toMatch(/^a secret \(hex\) at offset \d+ of a gateway's output/);
    expect(database).toBe('nothing');
  });

  test('in a log file', async () => {
    const file = join(home.directory, 'gateway.log');
    const [gateway] = await afterwards({ M2M_LOG_FILE: file }, base64, harmless);
    expect(gateway).toMatch(/^a secret \(base64\) at offset \d+ of .*gateway\.log/);
  });

  test('in a table', async () => {
    const [gateway, database] = await afterwards({}, harmless, base64);
    expect(gateway).toBe('nothing');
    expect(database).toMatch(/^a secret \(base64\) at offset \d+ of table terminal/);
  });
});
