/** The part of a commit that writes secrets: current, pending, and the text that carries them. */
import { seal, type KeyRing, type SealedColumn } from '../../crypto/sealing';
import { CHANGE_TARGETS } from '../../protocol/changeTargets';
import type { CredentialWrite, PendingChange } from '../model';
import { byteaArray, plainArray, textArray } from './arrays';

/** Pieces of SQL that a committing statement is put together from. */
export interface SecretsSql {
  /** Further parameters of its unnest(), numbered from `first`. */
  readonly parameters: (first: number) => string;
  readonly columns: string;
  readonly join: string;
  readonly lock: string;
  readonly bump: string;
  readonly writes: string;
}

export const NO_SECRETS: SecretsSql = {
  parameters: () => '',
  columns: '',
  join: '',
  lock: '',
  bump: '',
  writes: '',
};

type Write = { readonly serial: string; readonly credentials?: CredentialWrite | undefined };
type Column = readonly [
  name: string,
  type: string,
  values: (items: readonly Write[], ring: KeyRing) => string,
];

const secretsOf = ({ credentials }: Write) => credentials;
const pendingOf = ({ credentials }: Write) => credentials?.record.changes.pending;

/** A current secret, where the write has settled it. */
function settledColumn(name: SealedColumn, target: number, field: SecretField): Column {
  return sealedColumn(name, name, (item) => {
    const write = secretsOf(item);
    return write && (write.settled & target) !== 0 ? write.record[field] : undefined;
  });
}

type SecretField = 'uplinkPassword' | 'downlinkPassword' | 'baseKey';

function pendingColumn(name: SealedColumn, field: SecretField): Column {
  return sealedColumn(name, name, (item) => pendingOf(item)?.[field]);
}

function sealedColumn(
  name: string,
  column: SealedColumn,
  secret: (item: Write) => Buffer | undefined,
): Column {
  const sealed = (item: Write, ring: KeyRing) => {
    const value = secret(item);
    return value && seal(ring, column, item.serial, value);
  };
  return [name, 'bytea', (items, ring) => byteaArray(items.map((item) => sealed(item, ring)))];
}

function plainColumn(
  name: string,
  type: string,
  value: (item: Write) => number | string | undefined,
): Column {
  return [name, type, (items) => plainArray(items.map(value))];
}

function pendingFact(
  name: string,
  type: string,
  value: (pending: PendingChange) => number | string | undefined,
): Column {
  return plainColumn(name, type, (item) => {
    const pending = pendingOf(item);
    return pending && value(pending);
  });
}

const COLUMNS: readonly Column[] = [
  settledColumn('uplink_password', CHANGE_TARGETS.uplink, 'uplinkPassword'),
  settledColumn('downlink_password', CHANGE_TARGETS.downlink, 'downlinkPassword'),
  settledColumn('base_key', CHANGE_TARGETS.base_key, 'baseKey'),
  pendingColumn('new_uplink_password', 'uplinkPassword'),
  pendingColumn('new_downlink_password', 'downlinkPassword'),
  pendingColumn('new_base_key', 'baseKey'),
  pendingFact('change_id', 'bigint', ({ id }) => id),
  pendingFact('change_targets', 'int', ({ targets }) => targets),
  pendingFact('change_settled', 'int', ({ settled }) => settled),
  pendingFact('change_by_sms', 'boolean', ({ bySms }) => String(bySms)),
  pendingFact('shown_id', 'bigint', ({ id, shown }) => (shown === 'never' ? undefined : id)),
  pendingFact('shown_latest', 'boolean', ({ shown }) => String(shown === 'latest')),
  pendingFact('text_at', 'bigint', ({ textAt }) => textAt),
  plainColumn('settled', 'int', (item) => secretsOf(item)?.settled),
  plainColumn('last_change_id', 'bigint', (item) => secretsOf(item)?.record.changes.lastId),
  plainColumn('confirmed_id', 'bigint', (item) => secretsOf(item)?.record.changes.confirmed?.id),
  plainColumn('confirmed_targets', 'int', (item) => secretsOf(item)?.record.changes.confirmed?.targets),
  ['msisdn', 'text', (items) => textArray(items.map((item) => secretsOf(item)?.text?.msisdn))],
  sealedColumn('text', 'sms_text', (item) => {
    const text = secretsOf(item)?.text?.text;
    return text === undefined ? undefined : Buffer.from(text, 'latin1');
  }),
  ['owner', 'text', (items) => textArray(items.map(({ serial }) => serial))],
];

/**
 * Both rows of a terminal are locked before either is written, and rows that somebody else holds are passed over, so
 * that neither an operator's function (terminal, credential, session) nor another gateway is waited for crosswise.
 */
export const SECRETS: SecretsSql = {
  parameters: (first) => COLUMNS.map(([, type], i) => `, $${first + i}::${type}[]`).join(''),
  columns: COLUMNS.map(([name]) => `, ${name}`).join(''),
  join: 'JOIN m2m.credential AS c ON c.terminal_id = i.terminal_id',
  lock: ', c',
  bump: ', revision = s.revision + 1',
  writes: `
  , secrets AS (
    UPDATE m2m.credential AS c SET
      uplink_password = coalesce(h.uplink_password, c.uplink_password),
      -- For m2m.explain. One that is plain yet would stay plain there.
      (replaced_uplink_password, replaced_at) = (
        SELECT CASE WHEN gone THEN c.uplink_password ELSE c.replaced_uplink_password END,
          CASE WHEN gone THEN now() ELSE c.replaced_at END
        FROM (SELECT h.uplink_password IS NOT NULL AND get_byte(c.uplink_password, 0) = 1 AS gone) AS was),
      downlink_password = coalesce(h.downlink_password, c.downlink_password),
      base_key = coalesce(h.base_key, c.base_key),
      changed_at = CASE WHEN h.settled <> 0 THEN now() ELSE c.changed_at END,
      wished_targets = c.wished_targets & ~h.settled,
      last_change_id = h.last_change_id,
      change_id = h.change_id,
      change_targets = h.change_targets,
      change_settled = h.change_settled,
      change_by_sms = h.change_by_sms,
      change_shown_id = h.shown_id,
      change_shown_latest = h.shown_latest,
      change_text_at = to_timestamp(h.text_at / 1000.0),
      new_uplink_password = h.new_uplink_password,
      new_downlink_password = h.new_downlink_password,
      new_base_key = h.new_base_key,
      confirmed_id = h.confirmed_id,
      confirmed_targets = h.confirmed_targets
    FROM held AS h WHERE c.terminal_id = h.terminal_id
  ), overtaken AS (
    UPDATE m2m.sms_outbox AS o SET
      status = CASE o.status WHEN 'sent' THEN 'sent' ELSE 'void' END, text = NULL, opened = NULL,
      last_error = CASE o.status WHEN 'sent' THEN o.last_error ELSE 'overtaken by the terminal''s next step' END
    FROM (
      SELECT o.id FROM held AS h JOIN m2m.sms_outbox AS o ON o.terminal_id = h.terminal_id
      WHERE (o.status IN ('waiting', 'sending') OR o.status = 'sent' AND o.text IS NOT NULL)
        AND (o.change_id IS DISTINCT FROM h.change_id OR h.text IS NOT NULL)
      FOR NO KEY UPDATE OF o SKIP LOCKED
    ) AS past WHERE o.id = past.id
  ), texted AS (
    INSERT INTO m2m.sms_outbox (terminal_id, serial, change_id, msisdn, text)
    SELECT h.terminal_id, h.owner, h.change_id, h.msisdn, h.text FROM held AS h WHERE h.text IS NOT NULL
  )`,
};

/** The values of SECRETS' parameters. */
export function secretColumns(items: readonly Write[], ring: KeyRing): string[] {
  return COLUMNS.map(([, , values]) => values(items, ring));
}
