/** Why the embedded PostgreSQL cannot be had: the message is one line for the operator. */
export class EmbeddedError extends Error {
  override readonly name: string = 'EmbeddedError';
}

/** Another living process has the data directory. */
export class DataDirectoryInUse extends EmbeddedError {
  override readonly name = 'DataDirectoryInUse';

  constructor(
    dataDir: string,
    /** The process that has it. */
    readonly pid: number,
    where = '',
  ) {
    super(`the data directory ${dataDir} is in use by process ${pid}${where}`);
  }
}

// Not by instanceof: errors of Node's own modules belong to another realm where this runs in a sandbox.
function textOf(error: unknown, property: 'code' | 'message'): string {
  const value: unknown =
    typeof error === 'object' && error !== null ? Reflect.get(error, property) : undefined;
  return typeof value === 'string' ? value : '';
}

/** The code of a system or SQL error, or an empty string. */
export function codeOf(error: unknown): string {
  return textOf(error, 'code');
}

/** What an error says, on one line. */
export function sayingOf(error: unknown): string {
  const text = textOf(error, 'message') || textOf(error, 'code') || String(error);
  return text.replace(/\s*\n\s*/g, '; ').trim();
}

/** Any error as an EmbeddedError that says what was being attempted. */
export function asEmbeddedError(error: unknown, attempt: string): EmbeddedError {
  return error instanceof EmbeddedError ? error : new EmbeddedError(`${attempt}: ${sayingOf(error)}`);
}
