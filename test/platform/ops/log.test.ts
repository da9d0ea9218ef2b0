import { Writable } from 'node:stream';
import fc from 'fast-check';
import { createLog, type LogFacts } from '../../../src/platform/ops/log';
import { LogSink } from '../../../src/platform/ops/logSink';
import { RollUp } from '../../../src/platform/ops/rollUp';

function target(behave: 'takes' | 'stalls') {
  const written: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    highWaterMark: 1024,
    write: (chunk: string, _encoding, done) => {
      written.push(chunk);
      if (behave === 'takes') done();
    },
  });
  return { stream, written };
}

test('a line is one JSON object with ECS names; what is absent is left out; identifiers are masked', async () => {
  const { stream, written } = target('takes');
  const sink = new LogSink(stream);
  const log = createLog({ sink, level: 'info', gateway: 'gw', identifiers: 'masked' });
  log.event('terminal-login', {
    message: 'in',
    outcome: 'success',
    serial: 'T1',
    imei: '868123000000019',
    imsi: '460001234567890',
    duration: 5,
  });
  log.event('terminal-login', { message: 'not shown', level: 'debug' });
  await sink.flush();
  const lines = written.join('').trim().split('\n');
  expect(lines).toHaveLength(1);
  const line = JSON.parse(lines[0]!) as Record<string, unknown>;
  expect(line).toMatchObject({
    message: 'in',
    'log.level': 'info',
    'event.action': 'terminal-login',
    'event.outcome': 'success',
    'event.duration': 5,
    'device.id': 'T1',
    'm2m.gateway': 'gw',
    'm2m.imei': '86812********19',
    'm2m.imsi': '46000********90',
    'ecs.version': expect.any(String) as string,
  });
  expect(Date.parse(line['@timestamp'] as string)).not.toBeNaN();
  expect(Object.keys(line)).not.toContain('event.reason');
});

test('every fact has its name, which is a contract', async () => {
  const { stream, written } = target('takes');
  const sink = new LogSink(stream);
  const log = createLog({ sink, level: 'info', gateway: 'gw', identifiers: 'full' });
  const facts: Required<LogFacts> = {
    ...{ message: 'm', level: 'warn', outcome: 'failure', reason: 'replay', detail: 'd', duration: 1 },
    ...{ ip: '192.0.2.1', port: 4711, serial: 'T1', imei: '868123000000019', imsi: '460001234567890' },
    ...{ sessionId: '0123456789abcdef', command: 'LOGIN', version: '4.0', sequence: 7, count: 2 },
    ...{ firmware: 'F1', listen: 'a:1', opsListen: 'b:2', tlsListen: 'c:3', error: 'e' },
  };
  log.event('terminal-login', facts);
  await sink.flush();
  expect(JSON.parse(written.join(''))).toEqual({
    '@timestamp': expect.any(String) as string,
    ...{ 'log.level': 'warn', message: 'm', 'ecs.version': '8.10.0', 'process.pid': process.pid },
    ...{ 'event.action': 'terminal-login', 'event.outcome': 'failure', 'event.reason': 'replay' },
    ...{ 'event.duration': 1, 'error.message': 'e', 'source.ip': '192.0.2.1', 'source.port': 4711 },
    ...{ 'device.id': 'T1', 'm2m.imei': '868123000000019', 'm2m.imsi': '460001234567890' },
    ...{ 'm2m.session_id': '0123456789abcdef', 'm2m.command': 'LOGIN', 'm2m.version': '4.0' },
    ...{ 'm2m.sequence': 7, 'm2m.count': 2, 'm2m.firmware': 'F1', 'm2m.detail': 'd', 'm2m.gateway': 'gw' },
    ...{ 'm2m.listen': 'a:1', 'm2m.ops_listen': 'b:2', 'm2m.tls_listen': 'c:3' },
  });
});

test.each([
  ['12345678', '********'],
  ['123456789', '12345**89'],
  ['460001234567890', '46000********90'],
])('an identifier is masked: %s', async (imsi, shown) => {
  const { stream, written } = target('takes');
  const sink = new LogSink(stream);
  createLog({ sink, level: 'info', gateway: 'gw', identifiers: 'masked' }).event('terminal-login', {
    message: 'in',
    imsi,
  });
  await sink.flush();
  expect(JSON.parse(written.join(''))).toMatchObject({ 'm2m.imsi': shown });
});

test('whatever a field holds, it stays one field of one line', async () => {
  const text = fc.string({ unit: 'binary', maxLength: 20 });
  const facts = fc.record({ message: text, detail: text, serial: text, firmware: text, error: text });
  await fc.assert(
    fc.asyncProperty(facts, fc.integer(), async (of, count) => {
      const { stream, written } = target('takes');
      const sink = new LogSink(stream);
      const log = createLog({ sink, level: 'info', gateway: of.message, identifiers: 'full' });
      log.event('frame-refused', { ...of, count, imei: of.detail });
      await sink.flush();
      expect(written.join('').split('\n')).toHaveLength(2);
      expect(JSON.parse(written.join(''))).toEqual({
        '@timestamp': expect.any(String) as string,
        ...{ 'log.level': 'info', 'ecs.version': '8.10.0', 'event.action': 'frame-refused' },
        ...{ message: of.message, 'm2m.gateway': of.message, 'process.pid': process.pid },
        ...{ 'm2m.detail': of.detail, 'm2m.imei': of.detail, 'device.id': of.serial },
        ...{ 'm2m.firmware': of.firmware, 'error.message': of.error, 'm2m.count': count },
      });
    }),
  );
});

test('a stalled sink neither blocks nor takes memory without bound: lines are dropped and counted', async () => {
  const { stream } = target('stalls');
  const sink = new LogSink(stream);
  const line = `${'x'.repeat(1000)}\n`;
  for (let n = 0; n < 40_000; n++) {
    sink.write(line);
    if (n % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(sink.dropped).toBeGreaterThan(20_000);
  expect(stream.writableLength).toBeLessThan(17 * 1024 * 1024);
});

test('a closed sink is no fault of the gateway', async () => {
  const { stream } = target('takes');
  const sink = new LogSink(stream);
  stream.destroy(Object.assign(new Error('EPIPE'), { code: 'EPIPE' }));
  await new Promise((resolve) => setImmediate(resolve));
  sink.write('lost\n');
  await sink.flush();
  expect(sink.dropped).toBe(1);
});

test('repeats become one line with a count; the first is told at once', () => {
  const rollUp = new RollUp(1_000_000);
  const told: number[] = [];
  for (let n = 0; n < 5; n++) rollUp.note('a', (count) => told.push(count));
  expect(told).toEqual([1]);
  rollUp.stop();
  expect(told).toEqual([1, 4]);
});

test('what comes again a second later is told at once, and what does not is not told again', () => {
  jest.useFakeTimers();
  try {
    const rollUp = new RollUp();
    const told: number[] = [];
    const note = () => rollUp.note('a', (count) => told.push(count));
    for (let n = 0; n < 3; n++) note();
    jest.advanceTimersByTime(1_000);
    expect(told).toEqual([1, 2]);
    jest.advanceTimersByTime(5_000);
    expect(told).toEqual([1, 2]);
    note();
    expect(told).toEqual([1, 2, 1]);
    rollUp.stop();
    expect(told).toEqual([1, 2, 1]);
  } finally {
    jest.useRealTimers();
  }
});

test('more addresses than are kept apart share a line', () => {
  const rollUp = new RollUp(1_000_000);
  let lines = 0;
  let sum = 0;
  for (let n = 0; n < 5000; n++) {
    rollUp.note(`address ${n}`, (count) => {
      lines++;
      sum += count;
    });
  }
  rollUp.stop();
  expect(sum).toBe(5000);
  expect(lines).toBeLessThanOrEqual(1002);
});

test('lines that were in a write that failed are counted too', async () => {
  const stream = new Writable({
    decodeStrings: false,
    write: (_chunk, _encoding, done) => done(Object.assign(new Error('EPIPE'), { code: 'EPIPE' })),
  });
  const sink = new LogSink(stream);
  sink.write('one\n');
  sink.write('two\n');
  sink.relay(Buffer.from('three\nfour\nfive\n'));
  await new Promise((resolve) => setTimeout(resolve, 10));
  sink.write('six\n');
  expect(sink.dropped).toBe(6);
});
