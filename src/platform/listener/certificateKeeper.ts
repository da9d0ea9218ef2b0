/** The certificate of the TLS port, followed while the gateway runs: a renewed one holds without a restart. */
import { followFile } from '../config/followFile';
import type { Log } from '../ops/log';
import { readCertificate, type Certificate } from './certificate';

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export class CertificateKeeper {
  private held: Certificate;
  /** The files were last seen unfit, and the log said so. */
  private unfit = false;

  /** Throws a CertificateError where the files do not hold a certificate and its key. */
  constructor(private readonly files: CertificateFiles) {
    this.held = readCertificate(files.cert, files.key);
  }

  get current(): Certificate {
    return this.held;
  }

  /**
   * The two files change one after the other: in between they do not fit, and what was read before stays in use.
   *
   * @returns a function that ends it
   */
  follow(log: Log, onRenewed: (certificate: Certificate) => void): () => void {
    const read = (): Certificate => readCertificate(this.files.cert, this.files.key);
    const isHeld = ({ cert, key }: Certificate): boolean =>
      cert.equals(this.held.cert) && key.equals(this.held.key);
    const onContent = (found: Certificate): void => {
      const same = isHeld(found);
      if (same && this.unfit)
        log.event('certificate-changed', {
          message: 'the certificate and its key fit again, and are those in use',
          outcome: 'success',
        });
      this.unfit = false;
      if (same) return;
      this.held = found;
      onRenewed(found);
      const until = new Date(found.notAfter).toISOString();
      log.event('certificate-changed', {
        message: `new TLS connections see the certificate of ${found.subject}, good until ${until}`,
        outcome: 'success',
      });
    };
    const onError = (error: unknown): void => {
      this.unfit = true;
      log.event('certificate-changed', {
        message: 'the changed certificate is not used; the one read before stays in use',
        level: 'error',
        outcome: 'failure',
        error: error instanceof Error ? error.message : String(error),
      });
    };
    const files = new Set([this.files.cert, this.files.key]);
    const ends = [...files].map((file) => followFile(file, { read, isHeld, onContent, onError }));
    return () => ends.forEach((end) => end());
  }
}
