import { randomBytes } from 'node:crypto';
import { keyRing, seal } from '../../../src/crypto/sealing';
import { Database } from '../../../src/platform/store/database';
import { Outbox } from '../../../src/platform/store/outbox';
import { createDatabase } from '../../support/database';
import { Operator } from '../../support/operator';
import { NO_EVENTS } from '../store/sqlFixture';
import { outboxOf, provisionPhone, type OutboxRow } from '../../support/texts';

/** No statement is given up because the machine is slow. */
const PATIENCE_MS = 120_000;

/** The outbox as the gateway's role has it, in a database of its own. */
export interface OutboxFixture {
  readonly url: string;
  readonly outbox: Outbox;
  readonly operator: Operator;
  /** Serials of texts that did not open. */
  readonly unreadable: string[];
  /** A terminal whose change is pending, with its text in the outbox; or a further text. */
  write(text: string, to?: { serial: string }): Promise<{ serial: string; id: number }>;
  set(id: number, assignments: string): Promise<unknown>;
  /** The newest of a terminal's rows. */
  row(serial: string): Promise<OutboxRow>;
  close(): Promise<void>;
}

export async function openOutbox(): Promise<OutboxFixture> {
  const testDatabase = await createDatabase();
  const { url } = testDatabase;
  const ring = keyRing([{ id: '0a0b0c0d', key: randomBytes(32) }]);
  const database = new Database(url, 4, NO_EVENTS, PATIENCE_MS);
  const operator = await Operator.connect(url);
  const unreadable: string[] = [];
  const onUnreadable = (serial: string) => void unreadable.push(serial);

  async function write(text: string, to?: { serial: string }) {
    const { serial } = to ?? (await provisionPhone(operator)).terminal;
    const [row] = await operator.sql<{ id: number }>(
      `WITH owner AS (
         UPDATE m2m.credential AS c SET change_id = 1, last_change_id = 1 FROM m2m.terminal AS t
         WHERE c.terminal_id = t.id AND t.serial = $1 RETURNING t.id
       )
       INSERT INTO m2m.sms_outbox (terminal_id, serial, change_id, msisdn, text)
       SELECT id, $1, 1, '+41790000000', $2 FROM owner RETURNING id::int`,
      [serial, seal(ring, 'sms_text', serial, Buffer.from(text))],
    );
    return { serial, id: row!.id };
  }

  return {
    url,
    outbox: new Outbox(database, () => ring, onUnreadable),
    operator,
    unreadable,
    write,
    set: (id, assignments) => operator.sql(`UPDATE m2m.sms_outbox SET ${assignments} WHERE id = $1`, [id]),
    row: async (serial) => (await outboxOf(operator, { serial })).at(-1)!,
    close: async () => {
      await operator.close();
      await database.close();
      await testDatabase.drop();
    },
  };
}
