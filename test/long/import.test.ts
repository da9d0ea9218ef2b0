/** 100,000 terminals from one \copy, and 100,000 beside them: imported, and sealed by a running gateway. */
import { createDatabase } from '../support/database';
import { startGateway, testHome } from '../support/gateway';
import { Operator } from '../support/operator';

const TERMINALS = 100_000;

test('100,000 rows, and as many again', async () => {
  const database = await createDatabase();
  const home = testHome();
  const gateway = await startGateway({ databaseUrl: database.url, home });
  const operator = await Operator.connect(database.url);
  try {
    await bringIn(operator, 1);
    await bringIn(operator, TERMINALS + 1);
  } finally {
    await operator.close();
    await gateway.stop();
    await database.drop();
    home.remove();
  }
});

async function bringIn(operator: Operator, first: number): Promise<void> {
  await operator.sql('BEGIN');
  await operator.sql(
    `INSERT INTO m2m.terminal_import (serial, imei, imsi, uplink_password, downlink_password, base_key)
     SELECT 'B-' || n, digits || m2m.luhn_digit(digits), '47000' || lpad(n::text, 10, '0'), 'up' || n, 'down' || n,
       '\\x0a690452897ab087303e55b92fc768e3'
     FROM generate_series($1::integer, $2::integer) AS n CROSS JOIN LATERAL (SELECT '35' || lpad(n::text, 12, '0') AS digits) AS d`,
    [first, first + TERMINALS - 1],
  );
  const began = performance.now();
  expect(await operator.sql('SELECT * FROM m2m.import_terminals()')).toEqual([]);
  await operator.sql('COMMIT');
  const imported = performance.now();
  const plain = () => operator.sql('SELECT FROM m2m.credential WHERE plain LIMIT 1');
  while ((await plain()).length > 0) await new Promise((resolve) => setTimeout(resolve, 100));
  const sealed = performance.now();
  const seconds = (from: number, to: number) => `${((to - from) / 1000).toFixed(1)} s`;
  process.stdout.write(
    `${TERMINALS} terminals: imported in ${seconds(began, imported)}, sealed ${seconds(imported, sealed)} later\n`,
  );
  expect(imported - began).toBeLessThan(60_000);
  expect(sealed - imported).toBeLessThan(60_000);
}
