/**
 * PostgreSQL array literals, written at once as text: one parameter a column, unnested by the statement. The
 * driver's own conversion visits every element through several layers; at login rates that is felt.
 */

/** Elements that need no quoting: numbers, UUIDs, words of ours. */
export function plainArray(values: readonly (number | string | undefined)[]): string {
  return `{${values.map((value) => value ?? 'NULL').join(',')}}`;
}

export function byteaArray(values: readonly (Buffer | undefined)[]): string {
  return hexArray(values.map((value) => value?.toString('hex')));
}

/** Bytes that stand as hexadecimal digits. */
export function hexArray(values: readonly (string | undefined)[]): string {
  return `{${values.map((value) => (value === undefined ? 'NULL' : `"\\\\x${value}"`)).join(',')}}`;
}

/** Any text, quoted. */
export function textArray(values: readonly (string | undefined)[]): string {
  return `{${values.map((value) => (value === undefined ? 'NULL' : `"${escaped(value)}"`)).join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
}
