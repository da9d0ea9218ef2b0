/**
 * Every password and key that a test knows of, and a look for them in what gateways wrote. Whoever makes a secret
 * notes it here; whoever ends a gateway or drops a database looks (gateway.ts, database.ts), so that no test must ask.
 */

/** Shorter ones turn up by chance. */
const SHORTEST = 8;

const noted = new Set<string>();
/** Those that are not in the index yet. */
const fresh: Buffer[] = [];

/** @returns what it was given */
export function noteSecret(secret: Buffer): Buffer {
  const name = secret.toString('latin1');
  if (secret.length < SHORTEST || noted.has(name)) return secret;
  noted.add(name);
  fresh.push(Buffer.from(secret));
  return secret;
}

/** The form of a needle that was found, and where; undefined: none was. Names no secret. */
export interface Finding {
  readonly form: string;
  readonly offset: number;
}

type Needle = readonly [form: string, bytes: Buffer];

/** As somebody who is careless would write it. */
export function formsOf(secret: Buffer): Needle[] {
  const raw = secret.toString('latin1');
  const hex = secret.toString('hex');
  const pairs = hex.match(/../g)!;
  const texts: [string, string][] = [
    ['hex', hex],
    ['upper-case hex', hex.toUpperCase()],
    ['spaced hex', pairs.join(' ')],
    ['base64', secret.toString('base64').replace(/=+$/, '')],
    ['base64url', secret.toString('base64url')],
    ['list of bytes', [...secret].join(',')],
    ['UTF-8', raw],
    ['JSON', JSON.stringify(raw).slice(1, -1)],
  ];
  const utf16 = Buffer.from(raw, 'utf16le');
  const hexUtf16 = Buffer.from(hex, 'utf16le');
  return [
    ['raw', secret],
    ...texts.map(([form, text]): Needle => [form, Buffer.from(text, 'utf8')]),
    ['UTF-16LE', utf16],
    ['UTF-16BE', Buffer.from(utf16).swap16()],
    ['hex in UTF-16LE', hexUtf16],
    ['hex in UTF-16BE', Buffer.from(hexUtf16).swap16()],
  ];
}

/** Told apart by their first four bytes. */
type Index = Map<number, Needle[]>;

function add(index: Index, secret: Buffer): void {
  for (const needle of formsOf(secret)) {
    const head = needle[1].readUInt32BE(0);
    const others = index.get(head);
    if (others === undefined) index.set(head, [needle]);
    else others.push(needle);
  }
}

/** Grows with what is noted: tests make thousands of secrets, and look more than once. */
const index: Index = new Map();

function indexOfNoted(): Index {
  for (const secret of fresh.splice(0)) add(index, secret);
  return index;
}

function indexOf(secrets: readonly Buffer[]): Index {
  const made: Index = new Map();
  for (const secret of secrets) add(made, secret);
  return made;
}

/** One pass over the text however many secrets there are. */
export function findSecret(text: Buffer, secrets?: readonly Buffer[]): Finding | undefined {
  const byHead = secrets === undefined ? indexOfNoted() : indexOf(secrets);
  for (let at = 0, head = 0; at < text.length; at++) {
    head = ((head << 8) | text[at]!) >>> 0;
    const begin = at - 3;
    const found = byHead
      .get(head)
      ?.find(([, bytes]) => text.subarray(begin, begin + bytes.length).equals(bytes));
    if (found !== undefined) return { form: found[0], offset: begin };
  }
  return undefined;
}

/** Throws where a secret stands in what was written. @param where for the message */
export function expectNoSecret(where: string, text: Buffer): void {
  const found = findSecret(text);
  if (found === undefined) return;
  const before = text.subarray(Math.max(0, found.offset - 120), found.offset).toString('latin1');
  throw new Error(`a secret (${found.form}) at offset ${found.offset} of ${where}, behind: ${before}`);
}
