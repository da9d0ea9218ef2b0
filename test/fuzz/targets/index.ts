/** All that reads bytes of strangers, one row each. A new reader is a row here and a folder in ../corpus. */
import type { Target } from '../target';
import { capture, csv, keyFile, tokenFile } from './files';
import { introspection, networks, receipts, settings } from './requests';
import { decode4, framer, proxy, smsText, wmmp } from './wire';

export const TARGETS: Readonly<Record<string, Target>> = {
  framer,
  'decode-4.0': decode4,
  'decode-wmmp': wmmp,
  'proxy-header': proxy,
  'sms-text': smsText,
  'smpp-receipt': receipts,
  'seal-csv': csv,
  'key-file': keyFile,
  'token-file': tokenFile,
  introspection,
  settings,
  capture,
  networks,
};
