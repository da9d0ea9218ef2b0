/** Inputs that reached something new once (scripts/fuzz/guided.js), or broke something; every run begins with them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Entry {
  readonly name: string;
  readonly bytes: Buffer;
}

export function corpusOf(target: string): Entry[] {
  const folder = join(__dirname, 'corpus', target);
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  return names.map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}
