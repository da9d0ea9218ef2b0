/** Texts to terminals in the database: written by the commit that made them, taken from here to be sent. */
import { unseal, UnsealError, type KeyRing } from '../../crypto/sealing';
import { endings, isAmbiguous, spellings } from '../sms/receipt';
import type { OutgoingText, Receipt } from '../sms/transport';
import type { Database } from './database';

/** Seconds after which a text that was taken and not heard of again is taken again. */
const LEASE = 60;
const KEPT = '30 days';

/** Only the oldest of a terminal's texts is taken, so that they are sent in order. */
const TAKE = `
  UPDATE m2m.sms_outbox AS o
  SET status = 'sending', attempts = o.attempts + 1, next_try_at = now() + interval '${LEASE} seconds'
  FROM (
    SELECT d.id FROM m2m.sms_outbox AS d
    WHERE d.status IN ('waiting', 'sending') AND d.next_try_at <= now() AND NOT EXISTS (
      SELECT FROM m2m.sms_outbox AS e
      WHERE e.terminal_id = d.terminal_id AND e.id < d.id AND e.status IN ('waiting', 'sending'))
    ORDER BY d.id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
  ) AS due
  WHERE o.id = due.id
  RETURNING o.id, o.serial, o.msisdn, o.text, o.attempts`;

const DELIVERED = `
  UPDATE m2m.sms_outbox SET status = 'delivered', text = NULL, opened = NULL, last_error = NULL
  WHERE id = $1 AND status = 'sending'`;
/** These two speak of one attempt: where another gateway makes the next one already, that one counts. */
const ACCEPTED = `
  UPDATE m2m.sms_outbox SET status = 'sent', message_id = nullif($3, ''), last_error = NULL
  WHERE id = $1 AND attempts = $2 AND status = 'sending'`;
const FAILED = `
  UPDATE m2m.sms_outbox SET status = 'waiting', last_error = $3, next_try_at = now() + make_interval(secs => $4)
  WHERE id = $1 AND attempts = $2 AND status = 'sending'`;
/** By its number a text fits one of the endings $4. */
const FITS = `right(ltrim(s.msisdn, '+'), 7) = ANY ($4::text[])`;
/**
 * A receipt is about a text whose number fits, under any spelling $1 of the id; else, if $5, about one under its own
 * spelling, the first. What the network could not deliver goes out again, later and later, where it is still of use.
 * Undecided: it may be about a text of which no answer had been written down when it came, at $6.
 */
const RECEIPT = `
  WITH meant AS (
    SELECT s.id, s.terminal_id, s.change_id, s.text IS NOT NULL AS kept FROM m2m.sms_outbox AS s
    WHERE s.message_id = ANY ($1::text[]) AND s.status = 'sent' AND (${FITS} OR $5 AND s.message_id = ($1::text[])[1])
    ORDER BY ${FITS} DESC, array_position($1::text[], s.message_id), s.id DESC
    LIMIT 1 FOR NO KEY UPDATE OF s
  ), settled AS (
    UPDATE m2m.sms_outbox AS o SET
      status = r.status,
      text = CASE r.status WHEN 'waiting' THEN o.text END,
      opened = NULL,
      last_error = CASE WHEN r.status <> 'delivered' THEN $3 END,
      next_try_at = now() + make_interval(secs => 60 * 2 ^ least(o.attempts - 1, 6))
    FROM (
      SELECT m.id, CASE
        WHEN $2 THEN 'delivered'
        WHEN m.kept AND m.change_id = c.change_id AND NOT EXISTS (
          SELECT FROM m2m.sms_outbox AS n WHERE n.terminal_id = m.terminal_id AND n.id > m.id) THEN 'waiting'
        ELSE 'failed' END AS status
      FROM meant AS m JOIN m2m.credential AS c USING (terminal_id)
    ) AS r
    WHERE o.id = r.id
    RETURNING o.id, o.serial
  )
  SELECT settled.id, settled.serial, came.at, EXISTS (
    SELECT FROM m2m.sms_outbox AS s
    WHERE s.status = 'sending' AND s.next_try_at > now()
      AND s.next_try_at <= to_timestamp(came.at) + interval '${LEASE} seconds' AND ($5 OR ${FITS}))
  FROM (SELECT coalesce($6::float8, extract(epoch FROM now())::float8) AS at) AS came LEFT JOIN settled ON true`;
/**
 * Of many rows at once those that somebody holds are passed over until the next time: an operator's transaction may
 * hold the texts of one terminal and wait for those of another.
 */
const rowsWhere = (condition: string): string =>
  `WHERE id IN (SELECT id FROM m2m.sms_outbox WHERE ${condition} FOR UPDATE SKIP LOCKED)`;
const GIVE_UP = `
  UPDATE m2m.sms_outbox SET status = 'failed', text = NULL, opened = NULL,
    last_error = concat_ws(': ', 'given up', last_error)
  ${rowsWhere(`status IN ('waiting', 'sending') AND created_at < now() - make_interval(secs => $1)`)}
  RETURNING id, serial, last_error`;
const WAITING = `
  SELECT count(*)::int, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
  FROM m2m.sms_outbox WHERE status IN ('waiting', 'sending')`;
/** Of texts that the network took and never spoke of again only the row stays. */
const FORGET = `
  UPDATE m2m.sms_outbox SET text = NULL, opened = NULL
  ${rowsWhere(`status = 'sent' AND text IS NOT NULL AND created_at < now() - make_interval(secs => $1)`)}`;
const DELETE = `
  DELETE FROM m2m.sms_outbox
  ${rowsWhere(`status NOT IN ('waiting', 'sending') AND created_at < now() - interval '${KEPT}'`)}`;

/** Texts that m2m.take_sms asked for. */
const ASKED = `
  SELECT id, serial, text FROM m2m.sms_outbox
  WHERE status IN ('waiting', 'sending') AND asked_at IS NOT NULL AND opened IS NULL AND text IS NOT NULL
  ORDER BY id LIMIT 500`;
/** Once: another gateway may have opened it, and somebody fetched it, meanwhile. */
const OPEN = `
  UPDATE m2m.sms_outbox SET opened = $2
  WHERE id = $1 AND status IN ('waiting', 'sending') AND asked_at IS NOT NULL AND opened IS NULL`;
const CLOSE = `
  UPDATE m2m.sms_outbox SET opened = NULL, asked_at = NULL
  ${rowsWhere(`opened IS NOT NULL AND asked_at < now() - interval '5 minutes'`)}`;

export interface TakenText extends OutgoingText {
  /** This one included. */
  readonly attempts: number;
}

export interface TextName {
  readonly id: number;
  readonly serial: string;
}

/** One try to send a text. */
export type Attempt = Pick<TakenText, 'id' | 'attempts'>;

export interface FoundText {
  /** The text that a receipt is about, where it is one of ours. */
  readonly text: TextName | undefined;
  /** Whether that may be seen later: the network's answer to some text is not written down yet. */
  readonly undecided: boolean;
  /** By the database's clock, for the next look. */
  readonly cameAt: number;
}

export class Outbox {
  constructor(
    private readonly database: Database,
    private readonly ring: () => KeyRing,
    private readonly onUnreadable: (serial: string, error: UnsealError) => void,
  ) {}

  /** Texts whose time has come; each is ours for a minute. */
  async take(most: number): Promise<TakenText[]> {
    const rows = await this.run(TAKE, [most]);
    return rows.flatMap(([id, serial, msisdn, text, attempts]) => {
      const opened = this.open(serial as string, text);
      if (opened === undefined) return [];
      const name = { id: Number(id), serial: serial as string };
      return { ...name, msisdn: msisdn as string, text: opened, attempts: attempts as number };
    });
  }

  /** Texts that wait, on any gateway, and since how many seconds the oldest does. */
  async waiting(): Promise<{ waiting: number; oldestSeconds: number }> {
    const [row] = await this.run(WAITING, []);
    return { waiting: (row?.[0] as number | undefined) ?? 0, oldestSeconds: Number(row?.[1] ?? 0) };
  }

  async delivered(id: number): Promise<void> {
    await this.run(DELIVERED, [id]);
  }

  async accepted({ id, attempts }: Attempt, messageId: string): Promise<void> {
    await this.run(ACCEPTED, [id, attempts, messageId]);
  }

  /** @param wait seconds until the next try */
  async failed({ id, attempts }: Attempt, why: string, wait: number): Promise<void> {
    await this.run(FAILED, [id, attempts, why, wait]);
  }

  /** @param cameAt what the first look for it returned */
  async receipt({ messageId, phones, delivered, state }: Receipt, cameAt?: number): Promise<FoundText> {
    const ids = phones.length > 0 ? spellings(messageId) : [messageId];
    const idIsEnough = phones.length === 0 || !isAmbiguous(messageId);
    const why = `not delivered: ${state}`;
    const [row] = await this.run(RECEIPT, [ids, delivered, why, endings(phones), idIsEnough, cameAt]);
    const [id, serial, at, undecided] = row!;
    return {
      text: id === null ? undefined : { id: Number(id), serial: serial as string },
      undecided: undecided as boolean,
      cameAt: at as number,
    };
  }

  /**
   * Ends what has been waiting or lying about for too long.
   * @param after seconds since they were written. @returns those that are given up by this call
   */
  async tidy(after: number): Promise<(TextName & { readonly why: string })[]> {
    const rows = await this.run(GIVE_UP, [after]);
    await this.run(FORGET, [after]);
    await this.run(CLOSE, []);
    await this.run(DELETE, []);
    return rows.map(([id, serial, why]) => ({
      id: Number(id),
      serial: serial as string,
      why: why as string,
    }));
  }

  /** Opens what operators asked for in SQL. */
  async openAsked(): Promise<void> {
    for (const [id, serial, text] of await this.run(ASKED, [])) {
      const opened = this.open(serial as string, text);
      if (opened !== undefined) await this.run(OPEN, [id, opened]);
    }
  }

  private open(serial: string, stored: unknown): string | undefined {
    try {
      return unseal(this.ring(), 'sms_text', serial, stored as Buffer).toString('latin1');
    } catch (error) {
      if (error instanceof UnsealError) this.onUnreadable(serial, error);
      else throw error;
      return undefined;
    }
  }

  private async run(text: string, values: unknown[]): Promise<unknown[][]> {
    return (await this.database.query({ text, values })).rows;
  }
}
