/**
 * Texts with new secrets, read by code that imports nothing from src/ and was written from the protocol's page; and
 * what tests of the SMS part share.
 */
import { createHash, createHmac, randomInt } from 'node:crypto';
import { eventually } from './eventually';
import type { Operator } from './operator';
import { credentialChange, downlinkFlaw, RESULT, SUITE, TAG, type Parsed, type Terminal } from './oracle';
import { noteSecret } from './secrets';
import type { RawTerminal } from './socket';

const BY_SMS = 2;

function keyed(suite: number, password: Buffer, covered: Buffer): Buffer {
  if (suite === SUITE.HMAC) return createHmac('sha256', password).update(covered).digest();
  return createHash('md5').update(covered).update(password).digest();
}

/** XOR with mask(0) | mask(1). */
function unmask(value: Buffer, letter: string, id: number, terminal: Terminal, suite: number): Buffer {
  const rest = Buffer.from(letter + '\0\0\0\0' + terminal.imei + terminal.imsi, 'latin1');
  rest.writeUInt32BE(id, 1);
  const block = (i: number) => keyed(suite, terminal.downlinkPassword, Buffer.concat([Buffer.of(i), rest]));
  const mask = Buffer.concat([block(0), block(1)]);
  return Buffer.from(value.map((byte, i) => byte ^ mask[i]!));
}

/** The terminal as a text makes it. Throws where the text is not for this terminal. */
export function readText(text: string, terminal: Terminal, suite: number): { id: number; changed: Terminal } {
  const [covered, seal] = text.split(' S=');
  const identified = Buffer.from(covered! + terminal.imei + terminal.imsi, 'latin1');
  const right = keyed(suite, terminal.downlinkPassword, identified).subarray(0, 8).toString('base64url');
  if (seal !== right) throw new Error('the seal is wrong');
  const [form, ...words] = covered!.split(' ');
  const fields = new Map(words.map((word) => [word[0]!, word.slice(2)]));
  if (form !== 'M2M2' || text.length > 160) throw new Error(`not a masked text: ${form}, ${text.length}`);
  const id = Number(fields.get('C'));
  const value = (letter: string, old: Buffer) =>
    fields.has(letter)
      ? noteSecret(unmask(Buffer.from(fields.get(letter)!, 'base64url'), letter, id, terminal, suite))
      : old;
  const changed = {
    ...terminal,
    uplinkPassword: value('U', terminal.uplinkPassword),
    downlinkPassword: value('D', terminal.downlinkPassword),
    baseKey: value('K', terminal.baseKey),
  };
  return { id, changed };
}

export const newPhone = (): string => `+4179${String(randomInt(1e8)).padStart(8, '0')}`;

/** A terminal with a phone number. */
export async function provisionPhone(operator: Operator, extra: { baseKeySize?: number } = {}) {
  const terminal = await operator.provision(extra);
  const phone = newPhone();
  await operator.sql(`SELECT m2m.set_contact($1, $2, NULL)`, [terminal.serial, phone]);
  return { terminal, phone };
}

/**
 * Waits until a gateway has sealed what was provisioned. It holds the row meanwhile, and a request that comes just
 * then is told BUSY, or, in WMMP, nothing.
 */
export async function sealed(operator: Operator, { serial }: Pick<Terminal, 'serial'>): Promise<void> {
  await eventually('sealed secrets', async () => {
    const [row] = await operator.sql<{ plain: boolean }>(
      'SELECT c.plain FROM m2m.credential AS c JOIN m2m.terminal AS t ON t.id = c.terminal_id WHERE t.serial = $1',
      [serial],
    );
    return row?.plain === false;
  });
}

/** The same where a gateway runs, sealed by it. */
export async function provisionSealedPhone(operator: Operator, extra: { baseKeySize?: number } = {}) {
  const made = await provisionPhone(operator, extra);
  await sealed(operator, made.terminal);
  return made;
}

/** Asks for new secrets by SMS. */
export async function askByText(
  socket: RawTerminal,
  terminal: Terminal,
  { targets, sequence, suite = SUITE.HMAC }: { targets: number; sequence: number; suite?: number },
): Promise<Parsed> {
  const frame = credentialChange(targets, BY_SMS)(terminal, { suite, sequence });
  const answer = await socket.ask(frame);
  expect(answer.result).toBe(RESULT.WAIT_FOR_SMS);
  expect(downlinkFlaw(answer, terminal, frame)).toBeUndefined();
  expect(answer.tlvs.get(TAG.CHANGE_TARGETS)).toEqual(Buffer.of(targets));
  return answer;
}

export interface OutboxRow {
  readonly id: number;
  readonly status: string;
  readonly attempts: number;
  readonly last_error: string | null;
  readonly message_id: string | null;
  readonly text: Buffer | null;
  readonly opened: string | null;
  /** Seconds until the next try. */
  readonly wait: number;
}

/** A terminal's rows of the outbox, oldest first. */
export function outboxOf(operator: Operator, { serial }: Pick<Terminal, 'serial'>): Promise<OutboxRow[]> {
  return operator.sql<OutboxRow>(
    `SELECT *, id::int AS id, extract(epoch FROM next_try_at - now())::float8 AS wait
     FROM m2m.sms_outbox WHERE serial = $1 ORDER BY sms_outbox.id`,
    [serial],
  );
}

/** Its next try is due, and the lease of whoever has it is over. */
export async function hurry(operator: Operator, { serial }: Pick<Terminal, 'serial'>): Promise<void> {
  await operator.sql(`UPDATE m2m.sms_outbox SET next_try_at = now() - interval '1 s' WHERE serial = $1`, [
    serial,
  ]);
}

/** The newest row, as soon as it passes. */
export function outboxRow(
  operator: Operator,
  terminal: Pick<Terminal, 'serial'>,
  what: string,
  match: (row: OutboxRow) => boolean,
): Promise<OutboxRow> {
  return eventually(`a row that is ${what}`, async () => {
    const row = (await outboxOf(operator, terminal)).at(-1);
    return row && match(row) ? row : undefined;
  });
}
