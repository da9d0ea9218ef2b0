/** The HTTP side of a gateway where the machine gives it no descriptors. */
import type { Server } from 'node:http';
import type { Metrics } from '../../../src/platform/ops/metrics';
import { OpsService } from '../../../src/platform/ops/service';

test('connections that cannot be accepted do not end it, however many there are', async () => {
  const service = new OpsService({
    notReady: () => undefined,
    metrics: { registry: { contentType: 'text/plain' } } as unknown as Metrics,
    exposition: () => Promise.resolve(''),
    log: { event: () => undefined },
    tokens: undefined,
    find: () => Promise.resolve(undefined),
    now: Date.now,
  });
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
