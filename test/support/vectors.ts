/** The byte-exact examples, with hexadecimal opened. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Terminal } from './oracle';

export interface Vector {
  readonly name: string;
  readonly what: string;
  readonly hex: string;
  readonly timestamp: number;
  readonly result: string;
  readonly sessionKey?: string;
  readonly sessionId?: string;
  readonly terminal: Record<
    'serial' | 'imei' | 'imsi' | 'uplinkPassword' | 'downlinkPassword' | 'baseKey',
    string
  > & {
    readonly suite: 1 | 2;
  };
}

const file = join(__dirname, '..', 'vectors', 'frames.json');
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Vector[] };

export { vectors };

export const VARIANTS = [
  '(suite 1, 128-bit base key)',
  '(suite 1, 256-bit base key)',
  '(suite 2, 128-bit base key)',
  '(suite 2, 256-bit base key)',
];

/** The vector with this name and variant; throws where there is none. */
export function vector(name: string, variant = ''): Vector {
  const found = vectors.find((one) => one.name === `${name} ${variant}`.trim());
  if (found === undefined) throw new Error(`no vector "${name} ${variant}"`);
  return found;
}

export const bytesOf = ({ hex }: Vector): Buffer => Buffer.from(hex, 'hex');

export function terminalOf({ terminal }: Vector): Terminal & { readonly suite: 1 | 2 } {
  const { serial, imei, imsi, suite } = terminal;
  return {
    serial,
    imei,
    imsi,
    suite,
    uplinkPassword: Buffer.from(terminal.uplinkPassword, 'hex'),
    downlinkPassword: Buffer.from(terminal.downlinkPassword, 'hex'),
    baseKey: Buffer.from(terminal.baseKey, 'hex'),
  };
}
