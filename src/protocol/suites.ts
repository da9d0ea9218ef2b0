/** Digest suites of version 4.0 (docs/protocol.md, "Digest"). */

export const UNSIGNED = 0;
export const MD5 = 1;
export const HMAC_SHA256 = 2;

export type SignedSuite = typeof MD5 | typeof HMAC_SHA256;

interface SuiteRow {
  readonly name: string;
  /** Bytes of a digest under it. */
  readonly digestSize: number;
}

export const SUITES: Readonly<Record<SignedSuite, SuiteRow>> = {
  [MD5]: { name: 'MD5', digestSize: 16 },
  [HMAC_SHA256]: { name: 'HMAC-SHA-256', digestSize: 32 },
};

export function isSignedSuite(suite: number): suite is SignedSuite {
  return suite === MD5 || suite === HMAC_SHA256;
}
