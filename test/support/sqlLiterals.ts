/** An independent reader of what `m2m seal` writes, by PostgreSQL's rules of lexing (manual, section 4.1.2). */

const CALL = 'SELECT m2m.provision_sealed(';

/** One whole line `SELECT m2m.provision_sealed(name => literal, …);` as values by name. Throws where it is anything else. */
export function readStatement(sql: string): Record<string, string> {
  if (!sql.startsWith(CALL)) throw new Error('another statement');
  const values: Record<string, string> = {};
  let at = CALL.length;
  for (;;) {
    const [name, begin] = readName(sql, at);
    const [value, end] = readLiteral(sql, begin);
    if (name in values) throw new Error(`${name} twice`);
    values[name] = value;
    if (sql.slice(end) === ');\n') return values;
    if (!sql.startsWith(', ', end)) throw new Error(`something stands behind ${name}`);
    at = end + 2;
  }
}

function readName(sql: string, at: number): [name: string, end: number] {
  const arrow = sql.indexOf(' => ', at);
  const name = sql.slice(at, arrow);
  if (!/^[a-z_]+$/.test(name)) throw new Error(`no name at ${at}`);
  return [name, arrow + 4];
}

/** `'…'`, or `E'…'` behind a blank, with standard_conforming_strings on or off. */
function readLiteral(sql: string, start: number): [value: string, end: number] {
  const escapes = sql.startsWith(" E'", start);
  let at = start + (escapes ? 2 : 0);
  if (sql[at] !== "'") throw new Error(`no literal at ${at}`);
  let value = '';
  for (at++; at < sql.length; at++) {
    const [one, next] = [sql[at]!, sql[at + 1]];
    if (one === "'" && next !== "'") return [value, at + 1];
    if (one === '\0') throw new Error('a NUL');
    const isPair = one === "'" || (one === '\\' && escapes);
    if (isPair && next !== one) throw new Error(`an escape at ${at} that is not ours`);
    value += one;
    if (isPair) at++;
  }
  throw new Error('the literal is not closed');
}
