/**
 * New secrets as an SMS (docs/credential-change.md).
 *
 *     M2M2 C=<change id> [U=<v>] [D=<v>] [K=<v>] S=<v>      masked
 *     M2M1 ...                                              the same in plain
 *
 * v is base64url without padding. Who reads or forges a masked text gains nothing: mask and seal are made with the
 * downlink password that is current when the text is written.
 */
import { MD5, type SignedSuite } from '../protocol/suites';
import { equalInConstantTime } from './constantTime';
import { digestOf, hmacSha256 } from './hmac';

export interface NewSecrets {
  readonly uplinkPassword?: Buffer | undefined;
  readonly downlinkPassword?: Buffer | undefined;
  readonly baseKey?: Buffer | undefined;
}

/** What masks and seals a text. */
export interface TextContext {
  /** Of the request that the text answers. */
  readonly suite: SignedSuite;
  readonly changeId: number;
  readonly imei: string;
  readonly imsi: string;
  /** The current one, 1 to 64 bytes. */
  readonly downlinkPassword: Buffer;
}

/** Characters of one SMS in the GSM 7-bit alphabet. */
export const LONGEST_TEXT = 160;

const FIELDS = [
  ['U', 'uplinkPassword'],
  ['D', 'downlinkPassword'],
  ['K', 'baseKey'],
] as const;
const SEAL_SIZE = 8;

export function writeCredentialText(secrets: NewSecrets, context: TextContext, plain: boolean): string {
  const values = FIELDS.flatMap(([letter, name]) => {
    const value = secrets[name];
    if (value === undefined) return [];
    return `${letter}=${(plain ? value : masked(letter, value, context)).toString('base64url')}`;
  });
  const text = [plain ? 'M2M1' : 'M2M2', `C=${context.changeId}`, ...values].join(' ');
  return `${text} S=${sealOf(text, context).toString('base64url')}`;
}

const GRAMMAR =
  /^(?<text>M2M(?<form>[12]) C=(?<id>[1-9][0-9]{0,9})(?: U=(?<U>[\w-]{22}))?(?: D=(?<D>[\w-]{22}))?(?: K=(?<K>[\w-]{22}|[\w-]{43}))?) S=(?<seal>[\w-]{11})$/;

/** Why a text is not taken. */
export type TextRefusal = 'not-a-text' | 'other-change' | 'wrong-seal';

/** The secrets in a text that is right for this context, or why it is not. */
export function readCredentialText(text: string, context: TextContext): NewSecrets | TextRefusal {
  const found = text.length <= LONGEST_TEXT ? GRAMMAR.exec(text)?.groups : undefined;
  if (found === undefined) return 'not-a-text';
  if (Number(found['id']) !== context.changeId) return 'other-change';
  // As text: base64url has more than one spelling for the same bytes.
  const seal = latin1(sealOf(found['text'] ?? '', context).toString('base64url'));
  if (!equalInConstantTime(seal, latin1(found['seal'] ?? ''))) return 'wrong-seal';
  const secrets = FIELDS.flatMap(([letter, name]) => {
    const value = found[letter];
    if (value === undefined) return [];
    const bytes = Buffer.from(value, 'base64url');
    return [[name, found['form'] === '1' ? bytes : masked(letter, bytes, context)]];
  });
  return Object.fromEntries(secrets) as NewSecrets;
}

/** Masks, and unmasks: value XOR mask(0) | mask(1) | ... */
function masked(letter: string, value: Buffer, context: TextContext): Buffer {
  const out = Buffer.from(value);
  for (let block = 0, at = 0; at < out.length; block++) {
    for (const byte of maskBlock(block, letter, context)) {
      if (at < out.length) out[at] = (out[at] ?? 0) ^ byte;
      at++;
    }
  }
  return out;
}

function maskBlock(block: number, letter: string, context: TextContext): Buffer {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(context.changeId);
  const identity = latin1(context.imei + context.imsi);
  return keyed(Buffer.concat([Buffer.of(block), latin1(letter), id, identity]), context);
}

function sealOf(text: string, context: TextContext): Buffer {
  return keyed(latin1(text + context.imei + context.imsi), context).subarray(0, SEAL_SIZE);
}

function keyed(covered: Buffer, { suite, downlinkPassword }: TextContext): Buffer {
  return suite === MD5
    ? digestOf('md5', Buffer.concat([covered, downlinkPassword]))
    : hmacSha256(downlinkPassword, covered);
}

function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
