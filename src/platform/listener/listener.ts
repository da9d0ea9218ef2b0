/** The ports that terminals connect to: accepts, counts, and cuts off who is overdue. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { sourceOf, type Network } from '../config/networks';
import type { Endpoint } from '../config/settings';
import type { Certificate } from './certificate';
import { Connection, type ConnectionOptions } from './connection';
import type { Newcomers } from './newcomers';
import { Descriptors } from './descriptors';
import { originOf, type Origin } from './origin';
import { ProxyDoor, type Onward } from './proxyDoor';
import { TlsDoor } from './tlsDoor';

/** Why a connection is not accepted, or closed for what it did not do. */
export const REFUSALS = [
  'limit',
  'newcomers',
  'descriptors',
  'proxy-untrusted',
  'proxy-malformed',
  'proxy-missing',
  'tls-handshake',
  'login-deadline',
  'idle',
  'stalled',
] as const;
type Refusal = (typeof REFUSALS)[number];

export interface ListenerOptions extends ConnectionOptions {
  /** Whether there is room for one more. @param own connections of this listener */
  readonly hasRoom: (own: number) => boolean;
  readonly newcomers: Newcomers;
  /** Load balancers whose connections begin with a header of the PROXY protocol; undefined: there are none. */
  readonly proxies: readonly Network[] | undefined;
  readonly onRefused: (reason: Refusal, address: string, port: number) => void;
}

const SWEEP_INTERVAL = 250;
/** Connections that wait to be accepted; the kernel takes no more than net.core.somaxconn, whatever is asked for. */
const BACKLOG = 65_535;

export class Listener {
  readonly connections = new Set<Connection>();
  private readonly servers: Server[] = [];
  private tls: TlsDoor | undefined;
  private readonly proxy: ProxyDoor | undefined;
  private readonly descriptors = new Descriptors();
  private readonly sweeper: NodeJS.Timeout;

  constructor(private readonly options: ListenerOptions) {
    const { proxies: trusted, loginDeadline: headerLimit } = options;
    const onRefused = (reason: Refusal, origin: Origin): void => this.refused(reason, origin);
    this.proxy = trusted && new ProxyDoor({ trusted, headerLimit, onRefused });
    this.sweeper = setInterval(() => this.sweep(), SWEEP_INTERVAL).unref();
  }

  /** Begins to listen. @returns host:port with the port really in use */
  listen(endpoint: Endpoint): Promise<string> {
    return this.open(endpoint, (socket, origin) => this.accept(socket, origin));
  }

  /** Likewise, for the same protocol inside TLS. */
  listenTls(endpoint: Endpoint, certificate: Certificate): Promise<string> {
    const door = new TlsDoor({
      certificate,
      handshakeLimit: this.options.loginDeadline,
      onSecure: (socket, origin) => this.accept(socket, origin),
      onFailed: (origin) => this.refused('tls-handshake', origin),
    });
    this.tls = door;
    return this.open(endpoint, (socket, origin) => {
      // Its handshake may come to nothing.
      if (origin.onSettled !== undefined) socket.once('close', origin.onSettled);
      door.take(socket, origin);
    });
  }

  /** For TLS connections from now on. */
  useCertificate(certificate: Certificate): void {
    this.tls?.use(certificate);
  }

  private async open({ host, port }: Endpoint, onward: Onward): Promise<string> {
    // Half-open, so that a terminal that sends its last frame with FIN still gets the answer.
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.admit(socket, onward),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: BACKLOG }, resolve);
    });
    this.servers.push(server);
    // The connection is lost, the listener is not; those behind it are accepted, and told why.
    server.on('error', () => this.descriptors.letGo());
    return hostPort(server.address() as AddressInfo);
  }

  /** Accepts nobody from now on. */
  stopAccepting(): void {
    for (const server of this.servers) if (server.listening) server.close();
    this.destroyWaiting();
  }

  destroyAll(): void {
    clearInterval(this.sweeper);
    this.descriptors.close();
    this.destroyWaiting();
    for (const connection of this.connections) connection.destroy();
  }

  private destroyWaiting(): void {
    this.proxy?.destroyAll();
    this.tls?.destroyAll();
  }

  /** Those whose header or handshake is still to come take room too. */
  private isFull(): boolean {
    const waiting = (this.proxy?.waiting ?? 0) + (this.tls?.waiting ?? 0);
    return !this.options.hasRoom(this.connections.size + waiting);
  }

  private admit(socket: Socket, onward: Onward): void {
    const { proxy } = this;
    // A health check may have come and gone before it is accepted: nobody is there to be told of.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const origin = originOf(socket, this.options.now());
    if (proxy !== undefined && !proxy.trusts(origin)) return this.turnAway(socket, 'proxy-untrusted', origin);
    if (this.isFull()) return this.turnAway(socket, 'limit', origin);
    if (this.descriptors.areScarce) return this.turnAway(socket, 'descriptors', origin);
    if (proxy === undefined) this.welcome(socket, origin, onward);
    else proxy.take(socket, origin, (known, from) => this.welcome(known, from, onward));
  }

  /** Where it comes from is known now, also behind a load balancer. */
  private welcome(socket: Socket, origin: Origin, onward: Onward): void {
    const { address, port, acceptedAt, local } = origin;
    const leave = this.options.newcomers.enter(sourceOf(address));
    if (leave === undefined) return this.turnAway(socket, 'newcomers', origin);
    onward(socket, { address, port, acceptedAt, local, onSettled: leave });
  }

  private turnAway(socket: Socket, reason: Refusal, origin: Origin): void {
    this.refused(reason, origin);
    socket.destroy();
  }

  private refused(reason: Refusal, { address, port }: Origin): void {
    this.options.onRefused(reason, address, port);
  }

  private accept(socket: Socket, origin: Origin): void {
    this.connections.add(new Connection(socket, this.options, origin, this.forget));
    // Behind a PROXY header it comes paused.
    socket.resume();
  }

  private readonly forget = (connection: Connection): void => {
    this.connections.delete(connection);
  };

  private sweep(): void {
    const now = this.options.now();
    this.descriptors.look();
    this.proxy?.sweep(now);
    for (const connection of this.connections) {
      const reason = connection.overdue(now);
      if (reason === undefined) continue;
      if (reason !== 'lingering') this.options.onRefused(reason, connection.address, connection.port);
      if (reason === 'login-deadline' || reason === 'idle') connection.sendAway(() => undefined);
      else connection.destroy();
    }
  }
}

export function hostPort({ address, port, family }: AddressInfo): string {
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}
