import { setTimeout as sleep } from 'node:timers/promises';
import { ensureCluster } from './cluster';
import { asEmbeddedError } from './errors';
import { settle } from './home';
import type { HomeOptions } from './home';
import { Keeper } from './keeper';
import type { EmbeddedServer } from './keeper';
import { layoutOf } from './layout';
import type { Layout } from './layout';
import { makeFolder } from './makeFolder';
import { clearOrphan } from './orphan';
import { currentOwner, takeOwnership } from './ownership';
import type { Ownership } from './ownership';
import { accepts } from './readiness';

export { ensureLibraryLinks } from './binaries';
export { DataDirectoryInUse, EmbeddedError } from './errors';
export type { EmbeddedServer } from './keeper';
export { makeFolder } from './makeFolder';

/** How to start the embedded PostgreSQL. */
export interface EmbeddedOptions extends HomeOptions {
  readonly dataDir: string;
  /** Server parameters over the launcher's own. */
  readonly parameters?: Readonly<Record<string, string>> | undefined;
  /** Called once each time the server is gone without having been stopped, and for each reason it does not come back. */
  readonly onUnexpectedExit?: ((why: string) => void) | undefined;
}

const STARTING_PATIENCE_MS = 30_000;

/** The connection URL of the database under a data directory, whether it runs or not. */
export function embeddedUrl(dataDir: string): string {
  return layoutOf(dataDir).url;
}

async function startOwned(
  layout: Layout,
  ownership: Ownership,
  options: EmbeddedOptions,
): Promise<EmbeddedServer> {
  const { parameters = {}, onUnexpectedExit = () => undefined } = options;
  const home = await settle(layout, options);
  await clearOrphan(home);
  await ensureCluster(home, parameters['fsync'] !== 'off');
  return Keeper.start(home, parameters, ownership, onUnexpectedExit);
}

/**
 * Starts the PostgreSQL that lives under a data directory and keeps it running until it is stopped or this
 * process ends, however it does. Throws DataDirectoryInUse while another living process has it started.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const attempt = `M2M_DATA_DIR: the embedded PostgreSQL in ${options.dataDir} cannot be started`;
  try {
    makeFolder(options.dataDir);
    const layout = layoutOf(options.dataDir);
    const ownership = await takeOwnership(layout);
    return await startOwned(layout, ownership, options).catch(async (error: unknown) => {
      await ownership.release();
      throw error;
    });
  } catch (error) {
    throw asEmbeddedError(error, attempt);
  }
}

/**
 * Whether a living process has the server of a data directory up. While that process is just starting or
 * stopping it, waits to see which.
 */
export async function embeddedStatus(dataDir: string): Promise<'stopped' | 'running'> {
  const layout = layoutOf(dataDir);
  const deadline = performance.now() + STARTING_PATIENCE_MS;
  while ((await currentOwner(layout)) !== undefined) {
    if ((await accepts(layout.url)) || performance.now() > deadline) return 'running';
    await sleep(50);
  }
  return 'stopped';
}
