/** Bearer tokens of those who may introspect sessions: a file that only its owner may read, one token a line. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { equalInConstantTime } from '../../crypto/constantTime';

export class TokenFileError extends Error {
  override readonly name = 'TokenFileError';
}

/** RFC 6750, section 2.1: what a token may consist of. */
const TOKEN = /^[A-Za-z0-9._~+/-]{1,256}=*$/;

/** Tokens as their SHA-256, so that comparing takes the same time for all of them. */
export type Tokens = readonly Buffer[];

/** Lines that are empty or begin with # do not count. Throws a TokenFileError that never shows a token. */
export function readTokenFile(path: string): Tokens {
  const lines = content(path).split(/\r?\n/);
  const tokens = lines.flatMap((line, n) => {
    const token = line.trim();
    if (token === '' || token.startsWith('#')) return [];
    if (!TOKEN.test(token))
      throw new TokenFileError(
        `${path}, line ${n + 1}: a token has 1 to 256 letters, digits and any of ._~+/- (openssl rand -hex 24)`,
      );
    return [hashed(token)];
  });
  if (tokens.length === 0) throw new TokenFileError(`${path}: holds no token`);
  return tokens;
}

function content(path: string): string {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) throw new TokenFileError(`${path}: others may read it; chmod 600 ${path}`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof TokenFileError) throw error;
    throw new TokenFileError(`${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}`);
  }
}

/** Which of the tokens it is; undefined: none. Looks at all of them, whichever it is. */
export function tokenIndex(tokens: Tokens, presented: string): number | undefined {
  const hash = hashed(presented);
  let found: number | undefined;
  for (const [i, token] of tokens.entries()) if (equalInConstantTime(hash, token)) found = i;
  return found;
}

function hashed(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
