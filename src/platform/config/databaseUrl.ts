/**
 * What DATABASE_URL may hold. The client library passes over in silence what it does not know, and psql would go by:
 * several hosts, a service, an sslmode with a slip in it.
 */

const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'];
/** They say where to connect to. */
const NOT_READ = ['service', 'hostaddr'];

export const DATABASE_URL_PERMITTED =
  'postgresql://user:password@host:5432/database or postgres://…, with one host, odd characters as %-escapes, ' +
  'an sslmode that psql has, no service and no hostaddr';

export function isDatabaseUrl(held: string): boolean {
  const url = /^postgres(ql)?:\/\/\S+$/.test(held) ? parsed(held) : undefined;
  if (url === undefined) return false;
  const { hostname, searchParams: parameters } = url;
  const mode = parameters.get('sslmode');
  return (
    ![hostname, ...parameters.getAll('host')].some((host) => host.includes(',')) &&
    /^[0-9]*$/.test(parameters.get('port') ?? '') &&
    !NOT_READ.some((name) => parameters.has(name)) &&
    (mode === null || SSL_MODES.includes(mode) || parameters.has('uselibpqcompat'))
  );
}

/** A user without a host, which a socket's URL may have, is no URL to the parser. */
function parsed(held: string): URL | undefined {
  const readable = [held, held.replace('@/', '@socket/')].find((text) => URL.canParse(text));
  return readable === undefined ? undefined : new URL(readable);
}
