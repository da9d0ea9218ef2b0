/**
 * A gateway, put together: terminals come in through the gate of this very process, or through those of its workers;
 * what is done once for all of them is done in the office, which is here.
 */
import { Crew } from './workers/crew';
import { Gate, NOWHERE_ELSE, type Open } from './gate';
import type { CertificateKeeper } from './listener/certificateKeeper';
import { Office } from './office';
import type { Tokens } from './ops/tokenFile';
import { followKeys, openSite, type Audience, type Site, type SiteParts } from './site';

export interface Running extends Open {
  readonly opsListen: string;
  /** Sends terminals away, finishes what is under way, and lets go of everything. */
  stop(): Promise<void>;
}

export interface GatewayParts extends SiteParts {
  /** Those who may introspect sessions, and the file that holds them; undefined: nobody. */
  readonly tokens: { readonly file: string; readonly first: Tokens } | undefined;
  /** What the TLS port begins with; undefined: there is none. */
  readonly certificate: CertificateKeeper | undefined;
  /** Takes whole log lines of workers. */
  readonly relay: (lines: Buffer) => void;
  /** Resolves when somebody wants it to end: where it has not started by then, it need not. */
  readonly ending: Promise<void>;
}

/** What terminals come in through. */
interface Doors {
  /** Processes that serve terminals now. */
  readonly size: number;
  readonly room: number;
  /** In the exposition format of Prometheus. */
  exposition(): Promise<string>;
  open(): Promise<Open>;
  drain(): Promise<void>;
  close(): void;
}

/** Starts the gateway on a migrated database. Throws where it cannot, and leaves nothing behind. */
export async function startGateway(parts: GatewayParts): Promise<Running> {
  const audience: Audience = { onChanges: [], onBack: [] };
  const single = parts.settings.workers === 1;
  const site = await openSite(parts, { terminals: single, office: true }, audience);
  const texted = () => gateway.texted();
  const doors = single ? ownGate(site, parts, audience, texted) : new Crew({ ...parts, site, texted });
  const gateway = new Gateway(site, parts, doors, audience);
  return gateway.start();
}

function ownGate(site: Site, { certificate }: GatewayParts, audience: Audience, texted: () => void): Doors {
  const gate = new Gate(site, { certificate, elsewhere: NOWHERE_ELSE, texted }, audience);
  return {
    size: 1,
    room: gate.room,
    exposition: () => site.metrics.registry.metrics(),
    open: () => gate.open(),
    drain: () => gate.drain(),
    close: () => gate.close(),
  };
}

class Gateway {
  private readonly office: Office;
  private unfollow: () => void = () => undefined;
  private draining = false;
  private starting = true;

  constructor(
    private readonly site: Site,
    { tokens, ending }: GatewayParts,
    private readonly doors: Doors,
    audience: Audience,
  ) {
    this.office = new Office(
      site,
      {
        tokens,
        notReady: () => this.notReady(),
        workers: () => doors.size,
        exposition: () => doors.exposition(),
      },
      audience,
    );
    void ending.then(() => {
      if (this.starting) doors.close();
    });
  }

  texted(): void {
    this.office.texted();
  }

  async start(): Promise<Running> {
    const { settings, store, log } = this.site;
    try {
      await store.start(`${settings.listen.host}:${settings.listen.port}`);
      const opsListen = await this.office.listen(settings.opsListen);
      const open = await this.doors.open();
      this.starting = false;
      await store.listening(open.listen);
      // The first line: what files that changed meanwhile have to say comes behind it.
      log.event('gateway-started', { message: this.greeting(open), ...open, opsListen });
      this.office.start();
      this.unfollow = followKeys(this.site, () =>
        log.event('keys-changed', { message: 'the key file was read again', outcome: 'success' }),
      );
      return { ...open, opsListen, stop: () => this.stop() };
    } catch (error) {
      await this.letGo();
      throw error;
    }
  }

  private greeting({ listen, tlsListen }: Open): string {
    const { maxConnections } = this.site.settings;
    const { size, room } = this.doors;
    const less =
      room < maxConnections
        ? `, as the limit of open files is too low for M2M_MAX_CONNECTIONS (${maxConnections})`
        : '';
    const inside = tlsListen === undefined ? '' : `, inside TLS to ${tlsListen}`;
    const by = size === 1 ? '' : ` by ${size} workers`;
    return `terminals connect to ${listen}${inside}; room for ${Math.min(room, maxConnections)} connections${by}${less}`;
  }

  private async stop(): Promise<void> {
    this.draining = true;
    await this.doors.drain();
    await this.letGo();
    this.site.log.event('gateway-stopped', { message: 'gateway stopped' });
  }

  private async letGo(): Promise<void> {
    this.unfollow();
    this.doors.close();
    await this.office.close();
    this.site.clock.stop();
    await this.site.store.close();
  }

  private notReady(): string | undefined {
    if (this.draining) return 'shutting down';
    return this.doors.size === 0 ? 'no process serves terminals' : undefined;
  }
}
