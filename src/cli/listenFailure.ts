/** Where a listener could not be had: which setting that is, and why. */
import type { Endpoint, Settings } from '../platform/config/settings';

/** What Node.js tells: of a name that it does not find, the name; of an address, both. */
interface ListenError extends NodeJS.ErrnoException {
  readonly hostname?: string;
  readonly address?: string;
  readonly port?: number;
}

/** @returns one line for people; undefined: it was something else */
export function listenFailure(error: unknown, settings: Settings): string | undefined {
  const { code = 'unknown' } = error as ListenError;
  const found = listenerOf(error as ListenError, settings);
  if (found === undefined) return undefined;
  const [variable, { host, port }] = found;
  const why = code === 'EADDRINUSE' ? 'is in use by another process' : `cannot be listened on (${code})`;
  return `${variable}: ${host}:${port} ${why}`;
}

function listenerOf(error: ListenError, settings: Settings): [string, Endpoint] | undefined {
  const { listen, opsListen, tlsListen = listen } = settings;
  const endpoints = Object.entries({
    M2M_OPS_LISTEN: opsListen,
    M2M_LISTEN: listen,
    M2M_TLS_LISTEN: tlsListen,
  });
  // It may have been the database's name.
  if (error.syscall === 'getaddrinfo') return endpoints.find(([, { host }]) => host === error.hostname);
  // A worker binds by way of its primary, which tells the system call below listen.
  if (error.syscall !== 'listen' && error.syscall !== 'bind' && error.code !== 'EADDRINUSE') return undefined;
  const ports = endpoints.filter(([, { port }]) => port === error.port);
  const both = ports.find(([, { host }]) => host === error.address);
  return both ?? ports[0] ?? ['M2M_LISTEN', listen];
}
