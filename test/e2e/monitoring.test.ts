/** Prometheus with the configuration that we hand out. Debian: prometheus. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describeWith } from '../support/debian';
import { Deployment } from '../support/deployment';
import type { GatewayProcess } from '../support/gateway';
import type { Operator } from '../support/operator';
import { login, RESULT } from '../support/oracle';
import { RawTerminal } from '../support/socket';

const FOLDER = join(__dirname, '..', '..', 'scripts', 'monitoring');
let deployment: Deployment;
let gateway: GatewayProcess;
let operator: Operator;
let prometheus: ChildProcess | undefined;

beforeAll(async () => {
  deployment = await Deployment.open();
  ({ operator } = deployment);
  gateway = await deployment.start();
});

afterAll(async () => {
  if (prometheus?.kill('SIGKILL')) await once(prometheus, 'close');
  await deployment?.close();
});

const metrics = async () => (await fetch(`${gateway.ops}/metrics`)).text();
const file = (name: string) => readFileSync(join(FOLDER, name), 'utf8');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('rules and dashboard ask for series that the gateway has', async () => {
  const known = new Set(
    (await metrics()).split('\n').flatMap((line) => /^# TYPE (\S+)/.exec(line)?.[1] ?? []),
  );
  for (const name of ['alerts.yml', 'grafana-dashboard.json']) {
    const asked = file(name).match(/\b(m2m|process|nodejs)_[a-z0-9_]+/g) ?? [];
    expect(asked.length).toBeGreaterThan(5);
    const unknown = asked.filter((series) => !known.has(series.replace(/_bucket$/, '')));
    expect(unknown).toEqual([]);
  }
  expect(() => JSON.parse(file('grafana-dashboard.json')) as unknown).not.toThrow();
});

test('what an alert counts is there before it happens first, so that the first time counts', async () => {
  const text = await metrics();
  expect(text).toContain('m2m_logins_total{result="replay",version="4.0"} 0');
  expect(text).toContain('m2m_logins_total{result="binding-mismatch",version="4.0"} 0');
  expect(text).toContain('m2m_refused_connections_total{reason="limit"} 0');
  expect(text).toContain('m2m_sms_outbox_oldest_seconds 0');
  expect(text).toMatch(/m2m_key_created_timestamp_seconds\{kind="sealing"\} 1\d{9}/);
});

describeWith(
  'promtool',
  ['--version'],
  'prometheus',
)('Prometheus', () => {
  const promtool = async (args: string[], input = '') => {
    const child = spawn('promtool', args, { cwd: FOLDER });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
    child.stdin.end(input);
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { status, said };
  };

  test.each([
    ['check', 'rules', 'alerts.yml'],
    ['check', 'config', 'prometheus.yml'],
    ['test', 'rules', 'alerts.test.yml'],
    ['test', 'rules', 'alerts-day.test.yml'],
  ])('promtool %s %s %s', async (...args) => {
    const { status, said } = await promtool(args);
    expect(said).toContain('SUCCESS');
    expect(status).toBe(0);
  });

  test('every alert is tested', () => {
    const names = (text: string, pattern: RegExp) =>
      new Set([...text.matchAll(pattern)].map(([, name]) => name));
    const tested = names(
      file('alerts.test.yml') + file('alerts-day.test.yml'),
      /alertname: (\w+)\n\s+exp_alerts/g,
    );
    expect(tested).toEqual(names(file('alerts.yml'), /- alert: (\w+)/g));
  });

  test('promtool finds nothing to say about the metrics', async () => {
    const { said } = await promtool(['check', 'metrics'], await metrics());
    // Those of Node.js have the names that prom-client gives them.
    expect(said.split('\n').filter((line) => line !== '' && !line.startsWith('nodejs_'))).toEqual([]);
  });

  test('scrapes the gateway, with the rules loaded', async () => {
    const terminal = await operator.provision();
    const socket = await RawTerminal.open(gateway);
    expect((await socket.ask(login(terminal))).result).toBe(RESULT.OK);
    const folder = join(deployment.home.directory, 'prometheus');
    mkdirSync(folder);
    copyFileSync(join(FOLDER, 'alerts.yml'), join(folder, 'alerts.yml'));
    const config = file('prometheus.yml')
      .replace('127.0.0.1:7751', gateway.ops.slice('http://'.length))
      .replace('scrape_interval: 15s', 'scrape_interval: 1s');
    writeFileSync(join(folder, 'prometheus.yml'), config);
    const port = await freePort();
    prometheus = spawn(
      'prometheus',
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    );
    const query = encodeURIComponent('m2m_logins_total{job="m2m", result="ok"}');
    const deadline = Date.now() + 240_000;
    let value: string | undefined;
    while (value === undefined && Date.now() < deadline) {
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${query}`)
        .then(
          async (response) => (await response.json()) as { data?: { result: { value: [number, string] }[] } },
        )
        .catch(() => undefined);
      value = answer?.data?.result[0]?.value[1];
      if (value === undefined) await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(value).toBe('1');
    const rules = await (await fetch(`http://127.0.0.1:${port}/api/v1/rules`)).text();
    expect(rules).toContain('M2MDatabaseLost');
  });
});
