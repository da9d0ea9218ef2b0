/** An operator at psql: provisions terminals and changes them, as the database's owner. */
import { randomBytes, randomInt } from 'node:crypto';
import { Client } from 'pg';
import type { Terminal } from './oracle';
import { noteSecret } from './secrets';

export class Operator {
  private last: Promise<unknown> = Promise.resolve();

  private constructor(private readonly client: Client) {}

  static async connect(url: string): Promise<Operator> {
    const client = new Client({ connectionString: url });
    client.on('error', () => undefined);
    await client.connect();
    return new Operator(client);
  }

  /** After what was asked before, however many ask at once: pg 9 will not wait by itself any more. */
  async sql<Row extends object = Record<string, unknown>>(
    text: string,
    values: unknown[] = [],
  ): Promise<Row[]> {
    const answer = this.last.then(() => this.client.query<Row>(text, values));
    this.last = answer.catch(() => undefined);
    return (await answer).rows;
  }

  /** Provisions a terminal that nobody else has. */
  async provision(extra: { leastLogin?: string; baseKeySize?: number | null } = {}): Promise<Terminal> {
    const terminal = newTerminal(extra.baseKeySize ?? 16);
    await this.sql(`SELECT m2m.provision_terminal($1, $2, $3, $4, $5, $6, least_login => $7)`, [
      terminal.serial,
      terminal.imei,
      terminal.imsi,
      terminal.uplinkPassword,
      terminal.downlinkPassword,
      extra.baseKeySize === null ? null : terminal.baseKey,
      extra.leastLogin ?? 'md5',
    ]);
    return terminal;
  }

  /** Provisions many at once. A gateway that runs has sealed them when this resolves. */
  async provisionMany(count: number): Promise<Terminal[]> {
    const terminals = Array.from({ length: count }, () => newTerminal());
    await this.sql(
      `SELECT m2m.provision_terminal(serial, imei, imsi, uplink, downlink, base_key)
       FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
         AS t(serial, imei, imsi, uplink, downlink, base_key)`,
      [
        terminals.map(({ serial }) => serial),
        terminals.map(({ imei }) => imei),
        terminals.map(({ imsi }) => imsi),
        terminals.map(({ uplinkPassword }) => uplinkPassword),
        terminals.map(({ downlinkPassword }) => downlinkPassword),
        terminals.map(({ baseKey }) => baseKey),
      ],
    );
    for (;;) {
      const [row] = await this.sql<{ plain: boolean }>('SELECT bool_or(plain) AS plain FROM m2m.credential');
      if (row?.plain !== true) return terminals;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async close(): Promise<void> {
    await this.client.end();
  }
}

/** Counts on, so that no two of a file are alike; its end has no meaning to the tests. */
let made = randomInt(1e8);

export function newTerminal(baseKeySize = 16): Terminal {
  made = (made + 1) % 1e8;
  const digits = String(made).padStart(8, '0');
  return {
    serial: `T-${randomBytes(6).toString('hex')}`,
    imei: withLuhn(`868123${digits}`),
    imsi: `46000${digits}${String(randomInt(100)).padStart(2, '0')}`,
    uplinkPassword: noteSecret(randomBytes(13)),
    downlinkPassword: noteSecret(randomBytes(16)),
    baseKey: noteSecret(randomBytes(baseKeySize)),
  };
}

function withLuhn(digits: string): string {
  const sum = [...digits].reduce((total, digit, i) => {
    const doubled = Number(digit) * (i % 2 === 1 ? 2 : 1);
    return total + (doubled > 9 ? doubled - 9 : doubled);
  }, 0);
  return digits + String((10 - (sum % 10)) % 10);
}
