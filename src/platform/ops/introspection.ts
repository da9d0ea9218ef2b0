/**
 * `POST /v1/sessions/introspect`: a data server asks for a session and its key, in the manner of RFC 7662. What is not
 * live is `{"active":false}`, whatever the reason.
 */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { DatabaseAway } from '../store/database';
import type { LiveSession, SessionName } from '../store/introspect';
import type { Reply } from './http';
import type { Log } from './log';
import { RateLimit } from './rateLimit';
import { tokenIndex, type Tokens } from './tokenFile';

/** Bytes of a request's body that are read; a right one has some forty. */
const BODY_LIMIT = 1_024;
/** Requests a second under one token, and at once. */
const ASKING = [1_000, 2_000] as const;
/** Wrong tokens a second from one address, and at once. */
const GUESSING = [1, 10] as const;

export interface IntrospectionOptions {
  /** Undefined: introspection is off. */
  readonly tokens: () => Tokens | undefined;
  readonly find: (name: SessionName) => Promise<LiveSession | undefined>;
  readonly log: Log;
  readonly counted: (result: string) => void;
  readonly now: () => number;
}

const body = z.union([
  z.object({
    session_id: z.string().regex(/^[0-9a-f]{16}$/),
    serial: z.undefined().optional(),
  }),
  z.object({
    serial: z.string().regex(/^[A-Za-z0-9._-]{1,16}$/),
    session_id: z.undefined().optional(),
  }),
]);
const WANTED =
  'the body must be {"session_id":"16 lower-case hexadecimal digits"} or {"serial":"1 to 16 of A-Z a-z 0-9 . _ -"}';

export class Introspection {
  private readonly asking = new RateLimit(...ASKING);
  private readonly guessing = new RateLimit(...GUESSING);

  constructor(private readonly options: IntrospectionOptions) {}

  async answer(request: IncomingMessage): Promise<Reply> {
    const { tokens, counted } = this.options;
    const known = tokens();
    if (known === undefined) return failure(404, 'introspection is off: M2M_OPS_TOKEN_FILE is not set');
    const reply = await this.judge(request, known);
    counted(RESULTS[reply.status] ?? (reply.body.includes('"active":true') ? 'active' : 'inactive'));
    return reply;
  }

  private async judge(request: IncomingMessage, tokens: Tokens): Promise<Reply> {
    const address = request.socket.remoteAddress ?? '';
    const { now } = this.options;
    if (!this.guessing.has(address, now())) return tooMany();
    const token = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const index = token === undefined ? undefined : tokenIndex(tokens, token);
    if (index === undefined) {
      this.guessing.take(address, now());
      return unauthorized(token !== undefined);
    }
    if (!this.asking.take(String(index), now())) return tooMany();
    const name = readName(await readBody(request));
    if (name === undefined) return failure(400, WANTED, 'invalid_request');
    return this.find(name, address);
  }

  private async find(name: SessionName, address: string): Promise<Reply> {
    try {
      const session = await this.options.find(name);
      this.options.log.event('session-introspected', {
        message:
          session === undefined ? 'a session that is not live was asked for' : 'a session was asked for',
        outcome: session === undefined ? 'failure' : 'success',
        serial: session?.serial ?? ('serial' in name ? name.serial : undefined),
        sessionId: session?.sessionId ?? ('sessionId' in name ? name.sessionId : undefined),
        ip: address,
      });
      return json(200, session === undefined ? { active: false } : shown(session));
    } catch (error) {
      if (!(error instanceof DatabaseAway)) throw error;
      return failure(503, 'the database is away', 'temporarily_unavailable', { 'retry-after': '1' });
    }
  }
}

/** What m2m_introspections_total calls a reply by its status. */
const RESULTS: Readonly<Record<number, string>> = {
  400: 'bad-request',
  401: 'unauthorized',
  429: 'too-many',
  503: 'unavailable',
};

function shown({ serial, sessionId, sessionKey, expiresAt, gateway }: LiveSession) {
  return {
    active: true,
    serial,
    session_id: sessionId,
    session_key: sessionKey?.toString('hex') ?? null,
    expires_at: expiresAt.toISOString(),
    gateway: gateway ?? null,
  };
}

function readName(text: string | undefined): SessionName | undefined {
  try {
    const { data } = body.safeParse(JSON.parse(text ?? ''));
    if (data?.serial !== undefined) return { serial: data.serial };
    return data?.session_id === undefined ? undefined : { sessionId: data.session_id };
  } catch {
    return undefined;
  }
}

/** Undefined: too long. What is beyond the limit is read and dropped, so that the answer can still be heard. */
function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= BODY_LIMIT) chunks.push(chunk);
      else resolve(undefined);
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    request.on('error', reject);
  });
}

function json(status: number, content: unknown, headers: Record<string, string> = {}): Reply {
  return {
    status,
    type: 'application/json',
    body: `${JSON.stringify(content)}\n`,
    // RFC 7662, section 4: a key must not stay in caches.
    headers: { 'cache-control': 'no-store', ...headers },
  };
}

function failure(
  status: number,
  why: string,
  error = 'not_found',
  headers: Record<string, string> = {},
): Reply {
  return json(status, { error, error_description: why }, headers);
}

function tooMany(): Reply {
  return failure(429, 'too many requests', 'slow_down', { 'retry-after': '1' });
}

/** RFC 6750, section 3.1: without a token no error is named. */
function unauthorized(presented: boolean): Reply {
  const challenge = presented ? 'Bearer realm="m2m", error="invalid_token"' : 'Bearer realm="m2m"';
  return failure(401, 'a bearer token is needed', 'invalid_token', { 'www-authenticate': challenge });
}
