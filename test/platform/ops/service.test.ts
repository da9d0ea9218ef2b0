/** The HTTP side of a gateway: where the machine gives it no descriptors, and where its tokens change. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Metrics } from '../../../src/platform/ops/metrics';
import { OpsService, type OpsOptions } from '../../../src/platform/ops/service';
import { readTokenFile } from '../../../src/platform/ops/tokenFile';

function serviceWith(options: Partial<OpsOptions>): OpsService {
  return new OpsService({
    notReady: () => undefined,
    metrics: {
      registry: { contentType: 'text/plain' },
      introspections: { inc: () => undefined },
    } as unknown as Metrics,
    exposition: () => Promise.resolve(''),
    log: { event: () => undefined },
    tokens: undefined,
    find: () => Promise.resolve(undefined),
    now: Date.now,
    ...options,
  });
}

test('connections that cannot be accepted do not end it, however many there are', async () => {
  const service = serviceWith({});
  const where = await service.listen({ host: '127.0.0.1', port: 0 });
  try {
    const server = Reflect.get(service, 'server') as unknown as Server;
    // As net.Server tells of accept(2).
    const error = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' });
    for (let n = 0; n < 3; n++) server.emit('error', error);
    expect((await fetch(`http://${where}/healthz`)).status).toBe(200);
  } finally {
    service.close();
  }
});

describe('tokens', () => {
  let file: string;
  let folder: string;
  let service: OpsService;
  let where: string;
  const told: unknown[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tokens-'));
    file = join(folder, 'tokens');
    writeFileSync(file, 'the-first-one\n', { mode: 0o600 });
    service = serviceWith({
      tokens: { file, first: readTokenFile(file) },
      log: { event: (action) => void told.push(action) },
    });
    // The file is looked at when the test says so; what goes over sockets takes its real time.
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    where = await service.listen({ host: '127.0.0.1', port: 0 });
    told.length = 0;
  });

  afterEach(() => {
    jest.useRealTimers();
    service.close();
    rmSync(folder, { recursive: true });
  });

  const ask = async (token: string): Promise<number> => {
    jest.useRealTimers();
    const headers = { authorization: `Bearer ${token}`, connection: 'close' };
    const url = `http://${where}/v1/sessions/introspect`;
    return (await fetch(url, { method: 'POST', body: '{"serial":"T1"}', headers })).status;
  };

  test('those that are in the file by now are the ones that hold', async () => {
    writeFileSync(file, 'the-second-one\n');
    jest.advanceTimersByTime(10_000);
    expect(told).toEqual(['tokens-changed']);
    expect([await ask('the-first-one'), await ask('the-second-one')]).toEqual([401, 200]);
  });

  test('once it is closed nobody looks at the file any more', () => {
    service.close();
    writeFileSync(file, 'the-second-one\n');
    jest.advanceTimersByTime(10_000);
    expect(told).toEqual([]);
  });
});
