/** Health, metrics and introspection over HTTP (docs/operations.md, "HTTP"). */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

export interface OpsRoutes {
  /** Why a login could not be served now; undefined: it could. */
  readonly notReady: () => string | undefined;
  readonly metrics: () => Promise<string>;
  readonly metricsType: string;
  readonly introspect: (request: IncomingMessage) => Promise<Reply>;
}

export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const plain = (status: number, body: string): Reply => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
});

export function createOpsServer(routes: OpsRoutes): Server {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    answer(routes, request).then(
      (reply) => send(response, reply),
      () => send(response, plain(500, 'internal error')),
    );
  });
  server.maxConnections = 256;
  return server;
}

async function answer(routes: OpsRoutes, request: IncomingMessage): Promise<Reply> {
  const path = request.url?.split('?')[0] ?? '';
  if (path === '/v1/sessions/introspect') {
    if (request.method !== 'POST') return notAllowed('POST');
    return routes.introspect(request);
  }
  const page = pages(routes)[path];
  if (page === undefined) return plain(404, 'not found');
  if (request.method !== 'GET' && request.method !== 'HEAD') return notAllowed('GET');
  return page();
}

function pages(routes: OpsRoutes): Record<string, () => Reply | Promise<Reply>> {
  return {
    '/healthz': () => plain(200, 'ok'),
    '/readyz': () => {
      const reason = routes.notReady();
      return reason === undefined ? plain(200, 'ready') : plain(503, reason);
    },
    '/metrics': async () => ({ status: 200, type: routes.metricsType, body: await routes.metrics() }),
  };
}

function notAllowed(method: string): Reply {
  return { ...plain(405, `${method} only`), headers: { allow: method } };
}

function send(response: ServerResponse, { status, type, body, headers }: Reply): void {
  response.writeHead(status, {
    ...headers,
    'content-type': type,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}
