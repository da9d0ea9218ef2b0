/** What every process of a gateway has, whatever its duties: keys, the store, counters. */
import { Clock, steady } from './clock';
import { nearMiss } from './flows/nearMiss';
import { replayCutoff } from './flows/replay';
import type { Settings } from './config/settings';
import { followFile } from './config/followFile';
import { readKeyFile, type GatewayKeys } from './keys/keyFile';
import { KeyKeeper } from './keys/keyKeeper';
import type { Log } from './ops/log';
import { Metrics } from './ops/metrics';
import type { Change } from './store/changeFeed';
import { openStore, type Duties, type GatewayStore } from './store/store';

export interface SiteParts {
  readonly settings: Settings;
  readonly databaseUrl: string;
  readonly keys: GatewayKeys;
  readonly log: Log;
  readonly droppedLogLines: () => number;
}

export interface Site {
  readonly settings: Settings;
  readonly log: Log;
  readonly keys: KeyKeeper;
  readonly store: GatewayStore;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** Who is told of what changed in the database; filled before the store is started. */
export interface Audience {
  readonly onChanges: ((changes: readonly Change[]) => void)[];
  /** The database is there again, or this process had stood still; what changed meanwhile was not told. */
  readonly onBack: (() => Promise<void>)[];
}

/** Connections to the database that a process of many has at least: lookups, logins and changes take two each. */
const LEAST_POOL = 4;
/** Shared by the processes that serve terminals. More only wait for each other in the server. */
const SHARED_POOL = 16;
const WHOLE_POOL = 8;
const OFFICE_POOL = 3;

/** Throws KeysDoNotFit, and what the database refuses with; nothing is left open then. */
export async function openSite(parts: SiteParts, duties: Duties, audience: Audience): Promise<Site> {
  const { settings, log } = parts;
  const keys = new KeyKeeper(parts.keys);
  const clock = new Clock({
    ask: () => store.time(),
    own: steady,
    machine: Date.now,
    log: duties.office ? log : undefined,
  });
  const store = await openStore({
    url: parts.databaseUrl,
    timeout: settings.databaseTimeout * 1000,
    keys,
    duties,
    poolSize: poolSize(duties, settings.workers),
    gateway: settings.gatewayId,
    sessionTtl: settings.sessionTtl,
    cutoff: () => replayCutoff(clock.now(), settings.timestampWindow),
    log,
    search: nearMiss,
    onChanges: (changes) => audience.onChanges.forEach((tell) => tell(changes)),
    onBack: async () => void (await Promise.all(audience.onBack.map((tell) => tell()))),
  });
  await clock.start();
  const metrics = new Metrics({
    databaseUp: () => store.available(),
    waitingForDatabase: () => store.waiting(),
    droppedLogLines: parts.droppedLogLines,
  });
  store.countInto(metrics);
  return { settings, log, keys, store, metrics, clock };
}

function poolSize(duties: Duties, workers: number): number {
  if (!duties.terminals) return OFFICE_POOL;
  return duties.office ? WHOLE_POOL : Math.max(LEAST_POOL, Math.ceil(SHARED_POOL / workers));
}

/**
 * Keys that are added to the file are used without a restart.
 *
 * @param onRead of several processes one says it for all
 * @returns a function that ends it
 */
export function followKeys({ keys, log, settings, store }: Site, onRead: () => void): () => void {
  return followFile(settings.keyFile, {
    read: readKeyFile,
    isHeld: (read) => keys.holds(read),
    onContent: (read) => {
      keys.replace(read);
      // Whose secrets did not open was nobody until now.
      store.strangers.clear();
      onRead();
    },
    onError: (error) =>
      log.event('keys-changed', {
        message: 'the changed key file is not used; the keys read before stay in use',
        level: 'error',
        outcome: 'failure',
        error: error instanceof Error ? error.message : String(error),
      }),
  });
}
