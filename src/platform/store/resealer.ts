/**
 * Seals again, under the newest key, what is stored under older ones: in lots, so that it may be stopped at any moment
 * and goes on where it was. A row that somebody else holds, or a value that changed meanwhile, is left for the next run.
 */
import { seal, sealedUnder, unseal, type KeyRing, type SealedColumn } from '../../crypto/sealing';
import { byteaArray, plainArray } from './arrays';
import type { Querying } from './probe';

const LOT = 500;

/** Where sealed values are. A column is sealed under its own name unless another is given. */
const TABLES = [
  {
    name: 'credential',
    key: 'terminal_id',
    columns: [
      'uplink_password',
      'downlink_password',
      'base_key',
      'new_uplink_password',
      'new_downlink_password',
      'new_base_key',
      'replaced_uplink_password',
    ],
    sealedAs: { replaced_uplink_password: 'uplink_password' },
  },
  { name: 'session', key: 'terminal_id', columns: ['session_key'], sealedAs: {} },
  { name: 'sms_outbox', key: 'id', columns: ['text'], sealedAs: { text: 'sms_text' } },
] as const satisfies readonly SealedTable[];

interface SealedTable {
  readonly name: string;
  readonly key: string;
  readonly columns: readonly string[];
  readonly sealedAs: Readonly<Record<string, SealedColumn>>;
}

export interface Progress {
  readonly table: string;
  /** Rows looked at, and rows there are, about. */
  readonly done: number;
  readonly of: number;
}

/** @returns values that were sealed anew */
export async function reseal(
  database: Querying,
  ring: KeyRing,
  onProgress: (progress: Progress) => void,
): Promise<number> {
  let resealed = 0;
  for (const table of TABLES) resealed += await resealTable(database, ring, table, onProgress);
  return resealed;
}

async function resealTable(
  database: Querying,
  ring: KeyRing,
  table: SealedTable,
  onProgress: (progress: Progress) => void,
): Promise<number> {
  const { rows: counted } = await database.query({ text: `SELECT count(*) FROM m2m.${table.name}` });
  const of = Number(counted[0]?.[0]);
  let [after, done, resealed] = ['0', 0, 0];
  for (;;) {
    const { rows } = await database.query({ text: selectLot(table), values: [after] });
    if (rows.length === 0) return resealed;
    resealed += await resealLot(database, ring, table, rows);
    after = rows.at(-1)?.[0] as string;
    done += rows.length;
    onProgress({ table: table.name, done: Math.min(done, of), of });
  }
}

function selectLot({ name, key, columns }: SealedTable): string {
  const serial = name === 'sms_outbox' ? 'r.serial' : 't.serial';
  const values = columns.map((column) => `r.${column}`).join(', ');
  const join = name === 'sms_outbox' ? '' : 'JOIN m2m.terminal AS t ON t.id = r.terminal_id';
  return `SELECT r.${key}, ${serial}, ${values} FROM m2m.${name} AS r ${join}
    WHERE r.${key} > $1 ORDER BY r.${key} LIMIT ${LOT}`;
}

async function resealLot(
  database: Querying,
  ring: KeyRing,
  table: SealedTable,
  rows: readonly unknown[][],
): Promise<number> {
  let resealed = 0;
  for (const [i, column] of table.columns.entries()) {
    const old = rows.filter((row) => isOld(ring, row[i + 2] as Buffer | null));
    if (old.length === 0) continue;
    const sealedAs = table.sealedAs[column] ?? (column as SealedColumn);
    const renewed = old.map((row) => renew(ring, sealedAs, row[1] as string, row[i + 2] as Buffer));
    const { rowCount } = await database.query({
      text: `UPDATE m2m.${table.name} AS r SET ${column} = held.renewed
        FROM (
          SELECT i.* FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS i (key, old, renewed)
          JOIN m2m.${table.name} AS r ON r.${table.key} = i.key AND r.${column} = i.old
          FOR NO KEY UPDATE OF r SKIP LOCKED
        ) AS held WHERE r.${table.key} = held.key`,
      values: [
        plainArray(old.map((row) => row[0] as string)),
        byteaArray(old.map((row) => row[i + 2] as Buffer)),
        byteaArray(renewed),
      ],
    });
    resealed += rowCount ?? 0;
  }
  return resealed;
}

function isOld(ring: KeyRing, stored: Buffer | null): boolean {
  const id = stored === null ? undefined : sealedUnder(stored);
  return id !== undefined && id !== ring.newest.id;
}

function renew(ring: KeyRing, column: SealedColumn, serial: string, stored: Buffer): Buffer {
  return seal(ring, column, serial, unseal(ring, column, serial, stored));
}

/** How many values are sealed under each key, by its id. */
export async function countByKey(database: Querying): Promise<Map<string, number>> {
  const each = TABLES.flatMap(({ name, columns }) =>
    columns.map((column) => `SELECT ${column} AS value FROM m2m.${name}`),
  );
  const { rows } = await database.query({
    text: `SELECT encode(substr(value, 2, 4), 'hex'), count(*) FROM (${each.join(' UNION ALL ')}) AS stored
      WHERE value IS NOT NULL AND get_byte(value, 0) = 1 GROUP BY 1`,
  });
  return new Map(rows.map(([id, count]) => [id as string, Number(count)]));
}
