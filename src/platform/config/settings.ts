/**
 * Settings of the gateway: environment variables, one row each, checked before anything is started. The table in
 * docs/settings.md is generated from these rows.
 */
import { availableParallelism, hostname } from 'node:os';
import { isIPv4, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { DATABASE_URL_PERMITTED, isDatabaseUrl } from './databaseUrl';
import { parseNetworks, type Network } from './networks';

export class SettingError extends Error {
  override readonly name = 'SettingError';
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface SettingRow<T> {
  readonly variable: string;
  readonly meaning: string;
  /** What it may hold, for people. */
  readonly permitted: string;
  /** The default as written in the documentation. */
  readonly shown: string;
  /** Undefined: it may not hold that. */
  readonly parse: (text: string) => T | undefined;
  readonly fallback: (environment: Environment) => T;
}

export type Environment = Readonly<Record<string, string | undefined>>;

function whole(
  variable: string,
  meaning: string,
  low: number,
  high: number,
  fallback: number,
): SettingRow<number> {
  return {
    variable,
    meaning,
    permitted: `a whole number from ${low} to ${high}`,
    shown: String(fallback),
    parse: (text) => {
      const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
      return value >= low && value <= high ? value : undefined;
    },
    fallback: () => fallback,
  };
}

function endpoint(variable: string, meaning: string, fallback: string): SettingRow<Endpoint> {
  return {
    variable,
    meaning,
    permitted: 'host:port, an IPv6 address in brackets; port 0 picks a free one',
    shown: fallback,
    parse: parseEndpoint,
    fallback: () => parseEndpoint(fallback) as Endpoint,
  };
}

/** One that is not listened on unless it is set. */
function optionalEndpoint(variable: string, meaning: string): SettingRow<Endpoint | undefined> {
  return { ...endpoint(variable, meaning, ''), shown: 'unset', fallback: () => undefined };
}

function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535 || (match[1] !== undefined && !isIPv6(match[1]))) return undefined;
  return { host: (match[1] ?? match[2]) as string, port };
}

function oneOf<const T extends string>(
  variable: string,
  meaning: string,
  choices: readonly T[],
  fallback: T,
): SettingRow<T> {
  return {
    variable,
    meaning,
    permitted: choices.join(', '),
    shown: fallback,
    parse: (text) => choices.find((choice) => choice === text),
    fallback: () => fallback,
  };
}

/** Where new secrets by SMS go. */
export type SmsRoute =
  | { readonly kind: 'outbox' }
  | {
      readonly kind: 'smpp';
      readonly host: string;
      readonly port: number;
      readonly user: string;
      readonly password: string;
    }
  | { readonly kind: 'webhook'; readonly url: string };

/** Undefined: a % that is no escape. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

const SMPP_PORT = 2775;

function parseSmsRoute(held: string): SmsRoute | undefined {
  if (held === 'outbox') return { kind: 'outbox' };
  if (!/^(smpp|https?):\/\//.test(held) || !URL.canParse(held)) return undefined;
  const url = new URL(held);
  const [user, password] = [decoded(url.username), decoded(url.password)];
  if (user === undefined || password === undefined) return undefined;
  if (url.protocol !== 'smpp:') return { kind: 'webhook', url: held };
  // SMPP 3.4, section 4.1.1: at most 15 and 8 characters.
  if (url.hostname === '' || user === '' || user.length > 15 || password.length > 8) return undefined;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { kind: 'smpp', host, port: Number(url.port) || SMPP_PORT, user, password };
}

function text<T>(
  variable: string,
  meaning: string,
  permitted: string,
  pattern: RegExp,
  shown: string,
  fallback: (environment: Environment) => T,
): SettingRow<string | T> {
  return {
    variable,
    meaning,
    permitted,
    shown,
    parse: (held) => (pattern.test(held) ? held : undefined),
    fallback,
  };
}

const DATABASE_URL_ROW: SettingRow<string | undefined> = {
  variable: 'DATABASE_URL',
  meaning: 'PostgreSQL 14 or newer, not through a transaction pooler; unset: the embedded one',
  permitted: DATABASE_URL_PERMITTED,
  shown: 'unset',
  parse: (held) => (isDatabaseUrl(held) ? held : undefined),
  fallback: () => undefined,
};

const SMS_ROW: SettingRow<SmsRoute> = {
  variable: 'M2M_SMS',
  meaning: 'how new secrets leave by SMS: rows that operators fetch with m2m.take_sms, an SMSC, or a webhook',
  permitted: 'outbox, smpp://user:password@host:port (at most 15 and 8 characters), http://… or https://…',
  shown: 'outbox',
  parse: parseSmsRoute,
  fallback: () => ({ kind: 'outbox' }),
};

const PROXY_TRUSTED_ROW: SettingRow<readonly Network[]> = {
  variable: 'M2M_PROXY_TRUSTED',
  meaning: 'load balancers: with `v2` nobody else may connect',
  permitted:
    'CIDRs or single addresses, IPv4 or IPv6, separated by commas, with no bit set behind the prefix',
  shown: 'none',
  parse: parseNetworks,
  fallback: () => [],
};

const dataDir = (environment: Environment): string => environment['M2M_DATA_DIR'] || '.data';

export const SETTINGS = {
  databaseUrl: DATABASE_URL_ROW,
  databaseTimeout: whole(
    'M2M_DATABASE_TIMEOUT',
    'seconds after which a statement is given up, and the database counts as away',
    1,
    600,
    8,
  ),
  listen: endpoint('M2M_LISTEN', 'where terminals connect', '0.0.0.0:7750'),
  tlsListen: optionalEndpoint(
    'M2M_TLS_LISTEN',
    'where terminals connect inside TLS 1.2 or 1.3, with the same protocol; unset: nowhere',
  ),
  tlsCert: text(
    'M2M_TLS_CERT',
    'certificate chain in PEM; read again when it changes',
    'a file',
    /^.+$/,
    'unset',
    () => undefined,
  ),
  tlsKey: text(
    'M2M_TLS_KEY',
    "the certificate's private key in PEM; must not be readable by everybody",
    'a file',
    /^.+$/,
    'unset',
    () => undefined,
  ),
  proxyProtocol: oneOf(
    'M2M_PROXY_PROTOCOL',
    'v2: every connection to both ports comes through a load balancer, and begins with a header of the PROXY protocol, version 2',
    ['off', 'v2'],
    'off',
  ),
  proxyTrusted: PROXY_TRUSTED_ROW,
  opsListen: endpoint(
    'M2M_OPS_LISTEN',
    'where health, metrics and introspection are served',
    '127.0.0.1:7751',
  ),
  dataDir: text('M2M_DATA_DIR', 'embedded database and generated keys', 'a folder', /^.+$/, '.data', dataDir),
  keyFile: text(
    'M2M_KEY_FILE',
    "the gateway's keys; must not be readable by others; a file that is named must exist, only the default one is made",
    'a file',
    /^.+$/,
    '$M2M_DATA_DIR/keys.json',
    (environment) => join(dataDir(environment), 'keys.json'),
  ),
  gatewayId: text(
    'M2M_GATEWAY_ID',
    'name in logs and sessions',
    '1 to 100 printable characters without blanks',
    /^[\x21-\x7e]{1,100}$/,
    'host name',
    () => hostname(),
  ),
  workers: {
    ...whole('M2M_WORKERS', 'processes that serve terminals, on one port', 1, 128, 1),
    shown: 'number of processors',
    fallback: () => availableParallelism(),
  },
  timestampWindow: whole(
    'M2M_TIMESTAMP_WINDOW',
    'seconds that an explicit timestamp may differ from the clock, either way',
    1,
    86400,
    300,
  ),
  refusalDelay: whole(
    'M2M_REFUSAL_DELAY',
    'milliseconds: AUTH_FAILED leaves at a multiple of them after its frame',
    0,
    10000,
    50,
  ),
  sessionTtl: whole('M2M_SESSION_TTL', 'seconds that a session lasts', 1, 31536000, 86400),
  heartbeatInterval: whole('M2M_HEARTBEAT_INTERVAL', 'seconds between heartbeats', 1, 65535, 300),
  loginDeadline: whole(
    'M2M_LOGIN_DEADLINE',
    'seconds after which a connection that has not logged in is closed',
    1,
    3600,
    10,
  ),
  maxConnections: whole('M2M_MAX_CONNECTIONS', 'connections at once', 1, 1000000, 100000),
  maxNewcomers: whole(
    'M2M_MAX_NEWCOMERS',
    'connections of one address that have not logged in yet; further ones are closed at once',
    1,
    1000000,
    1000,
  ),
  maxFrame: whole('M2M_MAX_FRAME', 'bytes of the largest frame taken', 256, 65535, 4096),
  drain: whole('M2M_DRAIN', 'seconds over which terminals are sent away at SIGTERM', 0, 3600, 10),
  sms: SMS_ROW,
  smsGiveUp: whole(
    'M2M_SMS_GIVE_UP',
    'seconds after which a text that cannot be sent is given up',
    60,
    2592000,
    86400,
  ),
  smsPlain: oneOf(
    'M2M_SMS_PLAIN',
    'whether texts are unmasked where a terminal asks for that: who reads such a text has the secrets',
    ['off', 'on'],
    'off',
  ),
  opsTokenFile: text(
    'M2M_OPS_TOKEN_FILE',
    'bearer tokens that may introspect sessions, one a line, mode 0600; unset: introspection is off',
    'a file',
    /^.+$/,
    'unset',
    () => undefined,
  ),
  logLevel: oneOf('M2M_LOG_LEVEL', 'least level that is logged', ['error', 'warn', 'info', 'debug'], 'info'),
  logFile: text(
    'M2M_LOG_FILE',
    'a file for log lines, with rotation, in place of standard output',
    'a file',
    /^.+$/,
    'unset',
    () => undefined,
  ),
  logFileSize: whole('M2M_LOG_FILE_SIZE', 'MiB at which a log file is full', 1, 1048576, 100),
  logFileKeep: whole('M2M_LOG_FILE_KEEP', 'full log files that are kept', 0, 10000, 10),
  logIdentifiers: oneOf('M2M_LOG_IDENTIFIERS', 'IMEI and IMSI in logs', ['masked', 'full'], 'masked'),
} as const satisfies Record<string, SettingRow<unknown>>;

export type Settings = {
  readonly [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['fallback']>;
} & {
  /** The key file is the default one, which is made where it is missing. */
  readonly ownKeyFile: boolean;
};

/** Reads all settings. Throws a SettingError that names the variable, what it holds and what it may hold. */
export function readSettings(environment: Environment): Settings {
  const values = Object.entries(SETTINGS as Record<string, SettingRow<unknown>>).map(([name, row]) => [
    name,
    readSetting(row, environment),
  ]);
  const settings = { ...Object.fromEntries(values), ownKeyFile: !environment['M2M_KEY_FILE'] } as Settings;
  checkTogether(settings);
  return settings;
}

function checkTogether(settings: Settings): void {
  const { proxyProtocol, proxyTrusted, listen, opsListen, tlsListen } = settings;
  apart('M2M_OPS_LISTEN', opsListen, 'M2M_LISTEN', listen);
  if (tlsListen !== undefined) {
    apart('M2M_TLS_LISTEN', tlsListen, 'M2M_LISTEN', listen);
    apart('M2M_TLS_LISTEN', tlsListen, 'M2M_OPS_LISTEN', opsListen);
  }
  if (proxyProtocol === 'off' || proxyTrusted.length > 0) return;
  const { variable, permitted } = PROXY_TRUSTED_ROW;
  const why = 'holds nothing, so that with M2M_PROXY_PROTOCOL=v2 nobody could connect';
  throw new SettingError(`${variable} ${why}; it may hold ${permitted}`);
}

/** Or it would say of our own port that another process uses it. */
function apart(variable: string, one: Endpoint, otherVariable: string, other: Endpoint): void {
  if (one.port === 0 || one.port !== other.port) return;
  if (one.host !== other.host && !isEverywhere(one, other) && !isEverywhere(other, one)) return;
  const [held, taken] = [one, other].map(
    ({ host, port }) => `"${host.includes(':') ? `[${host}]` : host}:${port}"`,
  );
  throw new SettingError(
    `${variable} holds ${held}, which ${otherVariable} (${taken}) takes; it may hold another port`,
  );
}

/** Whether it listens on all addresses, of which the other's is one. */
function isEverywhere({ host }: Endpoint, other: Endpoint): boolean {
  return host === '::' || (host === '0.0.0.0' && isIPv4(other.host));
}

function readSetting(row: SettingRow<unknown>, environment: Environment): unknown {
  const held = environment[row.variable];
  if (held === undefined || held === '') return row.fallback(environment);
  const value = row.parse(held);
  if (value !== undefined) return value;
  throw new SettingError(`${row.variable} holds ${quoted(row.variable, held)}; it may hold ${row.permitted}`);
}

/** URLs may hold passwords. */
function quoted(variable: string, held: string): string {
  return variable === 'DATABASE_URL' || variable === 'M2M_SMS' ? 'something else' : JSON.stringify(held);
}

/** Variables that look like settings of the gateway and are none: usually a slip of the pen. */
export function unknownSettings(environment: Environment): string[] {
  const known = new Set(Object.values(SETTINGS).map(({ variable }) => variable));
  return Object.keys(environment).filter((name) => name.startsWith('M2M_') && !known.has(name));
}
