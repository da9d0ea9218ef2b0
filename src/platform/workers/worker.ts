/** A worker process: serves terminals, and leaves the rest to its primary (crew.ts). */
import { Gate, type Open } from '../gate';
import type { CertificateKeeper } from '../listener/certificateKeeper';
import { followKeys, openSite, type Audience, type Site, type SiteParts } from '../site';
import { dump } from './census';
import { COUNT_INTERVAL, LOOKS_IN_SILENCE, type FromPrimary, type FromWorker } from './messages';

export interface WorkerParts extends SiteParts {
  readonly certificate: CertificateKeeper | undefined;
}

/** The channel to the primary. */
export interface Channel {
  tell(message: FromWorker): void;
  onMessage(hear: (message: FromPrimary) => void): void;
}

export interface RunningWorker {
  /** Resolves when the primary wants it to end. */
  readonly sentAway: Promise<void>;
  /** Sends terminals away, finishes what is under way, and lets go of everything. */
  stop(): Promise<void>;
}

/** Throws where it cannot start, and leaves nothing behind. */
export async function startWorker(parts: WorkerParts, channel: Channel): Promise<RunningWorker> {
  const audience: Audience = { onChanges: [], onBack: [] };
  const site = await openSite(parts, { terminals: true, office: false }, audience);
  let elsewhere = { connections: 0, newcomers: new Map<string, number>() };
  const gate = new Gate(
    site,
    {
      certificate: parts.certificate,
      elsewhere: {
        connections: () => elsewhere.connections,
        newcomers: (source) => elsewhere.newcomers.get(source) ?? 0,
      },
      texted: () => channel.tell({ kind: 'texted' }),
    },
    audience,
  );
  const sentAway = new Promise<void>((resolve) => {
    channel.onMessage((message) => {
      if (message.kind === 'elsewhere')
        elsewhere = { connections: message.connections, newcomers: new Map(message.newcomers) };
      if (message.kind === 'collect') void answer(site, channel);
      if (message.kind === 'stop') resolve();
    });
  });
  const open = await opened(site, gate);
  const unfollow = followKeys(site, () => undefined);
  const endReports = reportChanges(site, gate, channel);
  channel.tell({ kind: 'ready', open, room: gate.room, instance: site.store.instanceId });
  const stop = async () => {
    await gate.drain();
    unfollow();
    gate.close();
    site.clock.stop();
    await site.store.close();
    endReports();
  };
  return { sentAway, stop };
}

async function opened(site: Site, gate: Gate): Promise<Open> {
  const { host, port } = site.settings.listen;
  try {
    await site.store.start(`${host}:${port}`);
    const open = await gate.open();
    await site.store.listening(open.listen);
    return open;
  } catch (error) {
    gate.close();
    site.clock.stop();
    await site.store.close();
    throw error;
  }
}

async function answer({ metrics }: Site, channel: Channel): Promise<void> {
  channel.tell({ kind: 'metrics', metrics: await dump(metrics.registry) });
}

function reportChanges({ store }: Site, gate: Gate, channel: Channel): () => void {
  let told = '';
  let looks = 0;
  let instance = store.instanceId;
  const timer = setInterval(() => {
    if (instance !== store.instanceId) {
      instance = store.instanceId;
      channel.tell({ kind: 'renumbered', instance });
    }
    const counts = { connections: gate.connections, newcomers: gate.crowds };
    const now = JSON.stringify(counts);
    if (now === told && ++looks < LOOKS_IN_SILENCE) return;
    looks = 0;
    told = now;
    channel.tell({ kind: 'count', ...counts });
  }, COUNT_INTERVAL).unref();
  return () => clearInterval(timer);
}
