/** What the TLS port shows: a certificate chain and its private key, both PEM (RFC 7468). */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';

/** The message names the file and never shows what the key file holds. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
}

export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Milliseconds since the epoch, of the first one in the chain. */
  readonly notAfter: number;
  readonly subject: string;
}

/** Throws a CertificateError where the two files are not a certificate and its key. */
export function readCertificate(certFile: string, keyFile: string): Certificate {
  const cert = content(certFile);
  const key = privateContent(keyFile);
  const first = attempt(certFile, 'holds no certificate in PEM', () => new X509Certificate(cert));
  const secret = attempt(keyFile, 'holds no private key in PEM that opens without a password', () =>
    createPrivateKey(key),
  );
  if (!first.checkPrivateKey(secret)) throw new CertificateError(`${keyFile}: is not the key of ${certFile}`);
  attempt(certFile, 'cannot be used for TLS', () => createSecureContext({ cert, key }));
  return { cert, key, notAfter: Date.parse(first.validTo), subject: first.subject.replaceAll('\n', ', ') };
}

function content(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CertificateError(`${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}`);
  }
}

/** A group may read it: Debian's ssl-cert does. */
function privateContent(path: string): Buffer {
  const bytes = content(path);
  if ((statSync(path).mode & 0o007) !== 0)
    throw new CertificateError(`${path}: everybody may read it; chmod o= ${path}`);
  return bytes;
}

function attempt<T>(path: string, problem: string, act: () => T): T {
  try {
    return act();
  } catch {
    throw new CertificateError(`${path}: ${problem}`);
  }
}
