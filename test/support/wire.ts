/** The way between a gateway and its database, as bad as a test wants it: a TCP proxy on a port of its own. */
import {
  connect,
  createServer,
  type IpcNetConnectOpts,
  type Server,
  type Socket,
  type TcpNetConnectOpts,
} from 'node:net';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

export class Wire {
  private readonly pairs = new Set<Pair>();
  private refusing = false;
  private silent = false;
  private target: TcpNetConnectOpts | IpcNetConnectOpts;

  private constructor(
    private readonly server: Server,
    private url: string,
  ) {
    this.target = targetOf(url);
    server.on('connection', (near) => this.accept(near));
  }

  /** @param url of a database; its server may be on a Unix socket */
  static async to(url: string): Promise<Wire> {
    const server = createServer();
    const wire = new Wire(server, url);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return wire;
  }

  /** The same database, over this wire. */
  get through(): string {
    const { port } = this.server.address() as { port: number };
    const { username, password, pathname } = new URL(this.url.replace(/@\//, '@localhost/'));
    return `postgresql://${username}${password && `:${password}`}@127.0.0.1:${port}${pathname}`;
  }

  /** Connections that stand now. */
  get size(): number {
    return this.pairs.size;
  }

  /** Breaks connections: all, or as many as are given, the latest first. */
  cut(most = Infinity): void {
    for (const pair of [...this.pairs].reverse().slice(0, most)) breakOff(pair);
  }

  /** Nobody can connect any more. */
  refuse(refusing = true): void {
    this.refusing = refusing;
  }

  /** From now on nothing gets through either way, and no connection ends; what was sent meanwhile comes afterwards. */
  silence(): void {
    this.silent = true;
    for (const { near, far } of this.pairs) hold(near, far);
  }

  /** What the server says gets lost from now on; what it is told does not. */
  mute(): void {
    for (const { near, far } of this.pairs) far.unpipe(near).pause();
  }

  /** Silences those that stand, whatever becomes of others: a firewall that has forgotten them. */
  forget(): void {
    for (const { near, far } of this.pairs) hold(near, far);
  }

  heal(): void {
    this.silent = this.refusing = false;
    for (const { near, far } of this.pairs) flow(near, far);
  }

  /** Another server behind the same address, for connections from now on. */
  lead(url: string): void {
    this.target = targetOf(url);
    this.url = url;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(near: Socket): void {
    near.on('error', () => undefined);
    if (this.refusing) return void near.resetAndDestroy();
    const far = connect(this.target);
    const pair = { near, far };
    this.pairs.add(pair);
    far.on('error', () => undefined);
    for (const [end, other] of [
      [near, far],
      [far, near],
    ] as const) {
      end.on('close', () => {
        if (other.destroyed) this.pairs.delete(pair);
        // What was sent before is on its way still; what comes now has nowhere to go.
        other.unpipe(end).resume().end();
      });
    }
    if (this.silent) hold(near, far);
    else flow(near, far);
  }
}

function flow(near: Socket, far: Socket): void {
  near.pipe(far);
  far.pipe(near);
}

function hold(near: Socket, far: Socket): void {
  near.unpipe(far).pause();
  far.unpipe(near).pause();
}

function breakOff({ near, far }: Pair): void {
  near.resetAndDestroy();
  far.destroy();
}

function targetOf(url: string): TcpNetConnectOpts | IpcNetConnectOpts {
  const { hostname, port, searchParams } = new URL(url.replace(/@\//, '@localhost/'));
  const directory = searchParams.get('host');
  const number = searchParams.get('port') ?? (port || '5432');
  return directory === null
    ? { host: hostname, port: Number(number) }
    : { path: `${directory}/.s.PGSQL.${number}` };
}
