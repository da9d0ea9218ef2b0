/**
 * A database URL as psql reads it, for the client library, which takes every sslmode for verify-full, and asks for TLS
 * on a socket of this machine where PGSSLMODE is set.
 */

/** @returns the URL with what makes the client library read it so */
export function asPsqlReads(url: string): string {
  const query = url.indexOf('?');
  const parameters = new URLSearchParams(query < 0 ? '' : url.slice(query));
  const add = (parameter: string) => `${url}${query < 0 ? '?' : '&'}${parameter}`;
  if (isSocket(url, parameters)) return add('sslmode=disable');
  return parameters.has('sslmode') && !parameters.has('uselibpqcompat') ? add('uselibpqcompat=true') : url;
}

function isSocket(url: string, parameters: URLSearchParams): boolean {
  return parameters.get('host')?.startsWith('/') ?? /^[^:]+:\/\/([^@/?]*@)?%2f/i.test(url);
}
