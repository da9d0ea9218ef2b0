/** haproxy from Debian with the configuration of scripts/packaging, on loopback addresses. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { eventually } from './eventually';

/** Nobody else listens there: a port that was free a moment ago still is. */
export const HAPROXY_HOST = '127.0.0.9';
const CONFIGURATION = join(__dirname, '..', '..', 'scripts', 'packaging', 'haproxy.cfg');

/** A test that fails half-way must not leave it behind. */
const living = new Set<ChildProcess>();
process.on('exit', () => living.forEach((child) => child.kill('SIGKILL')));

/** host:port of one gateway, and of its TLS port. */
export interface Behind {
  readonly plain: string;
  readonly tls: string;
}

export class Haproxy {
  private constructor(
    private readonly child: ChildProcess,
    private readonly socket: string,
    readonly port: number,
    readonly tlsPort: number,
  ) {}

  /** Resolves when every gateway has passed a health check. @param more sections that follow the configuration */
  static async start(directory: string, gateways: readonly [Behind, Behind], more: string): Promise<Haproxy> {
    const [port, tlsPort] = [await freePort(), await freePort()];
    const socket = join(directory, 'haproxy.sock');
    const file = join(directory, 'haproxy.cfg');
    writeFileSync(file, configuration(socket, port, tlsPort, gateways) + more);
    const child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    living.add(child);
    child.once('close', () => living.delete(child));
    let said = '';
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    const haproxy = new Haproxy(child, socket, port, tlsPort);
    await eventually('haproxy has looked at its gateways', async () => {
      if (child.exitCode !== null) throw new Error(`haproxy ended: ${said}`);
      const checks = await haproxy.checks().catch(() => []);
      return checks.length > 0 && checks.every((check) => check === 'UP L4OK');
    });
    return haproxy;
  }

  /** State and latest check of every server. */
  async checks(): Promise<string[]> {
    const [head = '', ...lines] = (await this.command('show stat')).trim().split('\n');
    const at = (name: string) => head.replace('# ', '').split(',').indexOf(name);
    const [name, status, check] = [at('svname'), at('status'), at('check_status')];
    return (
      lines
        .map((line) => line.split(','))
        .filter((cells) => /^gw-/.test(cells[name] ?? ''))
        // An asterisk: the next check is under way.
        .map((cells) => `${cells[status]} ${cells[check]?.replace('* ', '')}`)
    );
  }

  /** Through its administrative socket, as an operator does with socat. */
  command(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      let answer = '';
      const socket = connect(this.socket, () => socket.write(`${text}\n`));
      socket.on('data', (chunk) => (answer += String(chunk)));
      socket.once('end', () => resolve(answer)).once('error', reject);
    });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}

function configuration(
  socket: string,
  port: number,
  tlsPort: number,
  [first, second]: readonly [Behind, Behind],
): string {
  const replaced: [string, string][] = [
    ['/run/haproxy/admin.sock', socket],
    ['maxconn 100000', 'maxconn 100'],
    // It also bounds how long a check may take to connect.
    ['inter 2s', 'inter 1s'],
    ['timeout connect 5s', 'timeout connect 240s'],
    ['timeout check 5s', 'timeout check 240s'],
    ['0.0.0.0:7750', `${HAPROXY_HOST}:${port}`],
    ['0.0.0.0:7752', `${HAPROXY_HOST}:${tlsPort}`],
    ['10.0.0.11:7750', first.plain],
    ['10.0.0.11:7752', first.tls],
    ['10.0.0.12:7750', second.plain],
    ['10.0.0.12:7752', second.tls],
  ];
  return replaced.reduce(
    (text, [from, to]) => {
      if (!text.includes(from)) throw new Error(`haproxy.cfg has no ${from}`);
      return text.replace(from, to);
    },
    readFileSync(CONFIGURATION, 'utf8'),
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, HAPROXY_HOST, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
