/**
 * Seals what operators' SQL brought in plain. Rows are taken in small lots that other gateways pass over, so any
 * number of them share a bulk import's work. Sealing changes no secret and so bumps no revision.
 */
import { isPlain, seal, type KeyRing, type SealedColumn } from '../../crypto/sealing';
import { byteaArray, plainArray } from './arrays';
import type { Database } from './database';

const LOT = 500;

const TAKE = `
  SELECT c.terminal_id, t.serial, c.uplink_password, c.downlink_password, c.base_key
  FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id
  WHERE c.plain AND c.terminal_id > $1 ORDER BY c.terminal_id LIMIT ${LOT}`;

/** A value that was changed in the meantime keeps what it was changed to. */
const PUT = `
  UPDATE m2m.credential AS c SET
    uplink_password = CASE WHEN c.uplink_password = i.old_uplink THEN i.uplink ELSE c.uplink_password END,
    downlink_password = CASE WHEN c.downlink_password = i.old_downlink THEN i.downlink ELSE c.downlink_password END,
    base_key = CASE WHEN c.base_key = i.old_base_key THEN i.base_key ELSE c.base_key END
  FROM (
    SELECT i.* FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[])
      AS i (terminal_id, old_uplink, uplink, old_downlink, downlink, old_base_key, base_key)
    JOIN m2m.credential AS c ON c.terminal_id = i.terminal_id
    FOR NO KEY UPDATE OF c SKIP LOCKED
  ) AS i WHERE c.terminal_id = i.terminal_id`;

export class Sealer {
  private running: Promise<void> | undefined;

  constructor(
    private readonly database: Database,
    private readonly ring: () => KeyRing,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** Seals all that is plain now, but for rows that others hold. One run at a time; a call during a run joins it. */
  run(): Promise<void> {
    this.running ??= this.sealAll()
      .catch(this.onError)
      .finally(() => {
        this.running = undefined;
      });
    return this.running;
  }

  private async sealAll(): Promise<void> {
    let after = '0';
    while (this.database.available) {
      const { rows } = await this.database.query({ name: 'sealer-take', text: TAKE, values: [after] });
      if (rows.length > 0)
        await this.database.query({ name: 'sealer-put', text: PUT, values: this.sealed(rows) });
      if (rows.length < LOT) return;
      after = rows.at(-1)?.[0] as string;
    }
  }

  private sealed(rows: readonly unknown[][]): string[] {
    const columns: SealedColumn[] = ['uplink_password', 'downlink_password', 'base_key'];
    const values = columns.flatMap((column, i) => {
      const old = rows.map((row) => (row[i + 2] as Buffer | null) ?? undefined);
      const now = rows.map((row, n) => this.sealOne(column, row[1] as string, old[n]));
      return [byteaArray(old), byteaArray(now)];
    });
    return [plainArray(rows.map((row) => row[0] as string)), ...values];
  }

  private sealOne(column: SealedColumn, serial: string, stored: Buffer | undefined): Buffer | undefined {
    if (stored === undefined || !isPlain(stored)) return stored;
    return seal(this.ring(), column, serial, stored.subarray(1));
  }
}
