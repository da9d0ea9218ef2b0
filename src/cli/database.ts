/** The database that a command works with: the one named by DATABASE_URL, or the embedded one, started if need be. */
import type { Settings } from '../platform/config/settings';
import {
  DataDirectoryInUse,
  embeddedStatus,
  embeddedUrl,
  EmbeddedError,
  makeFolder,
  startEmbedded,
} from '../platform/store/embedded';
import { migrate, MigrationError, type MigrationReport } from '../platform/store/migrate';
import { failed, usage } from './errors';

export interface OpenDatabase {
  readonly url: string;
  readonly migrated: MigrationReport;
  close(): Promise<void>;
}

/** The URL, whether or not the server runs. */
export function databaseUrl(settings: Settings): string {
  return settings.databaseUrl ?? embeddedUrl(settings.dataDir);
}

/**
 * Starts the embedded server where there is no DATABASE_URL, and brings the schema up to date.
 *
 * @param onUnexpectedExit told when the embedded server goes down by itself; it is started again
 */
export async function openDatabase(
  settings: Settings,
  onUnexpectedExit: (why: string) => void,
): Promise<OpenDatabase> {
  const server = settings.databaseUrl === undefined ? await started(settings, onUnexpectedExit) : undefined;
  const url = databaseUrl(settings);
  const close = async () => server?.stop();
  try {
    return { url, migrated: await migrate(url), close };
  } catch (error) {
    await close();
    throw asFailure(error);
  }
}

/** As openDatabase; an embedded server that a gateway has running is used as it is. */
export async function borrowDatabase(settings: Settings): Promise<OpenDatabase> {
  const borrowed =
    settings.databaseUrl === undefined && (await embeddedStatus(settings.dataDir)) === 'running';
  if (!borrowed) return openDatabase(settings, () => undefined);
  const url = databaseUrl(settings);
  try {
    return { url, migrated: await migrate(url), close: () => Promise.resolve() };
  } catch (error) {
    throw asFailure(error);
  }
}

/** For the embedded database and the key file that is made. */
export function makeDataFolder({ dataDir }: Settings): void {
  try {
    makeFolder(dataDir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usage(`M2M_DATA_DIR: ${dataDir} cannot be made: ${code ?? String(error)}`);
  }
}

async function started(settings: Settings, onUnexpectedExit: (why: string) => void) {
  makeDataFolder(settings);
  try {
    return await startEmbedded({ dataDir: settings.dataDir, onUnexpectedExit });
  } catch (error) {
    throw asFailure(error);
  }
}

function asFailure(error: unknown): unknown {
  const ours =
    error instanceof EmbeddedError || error instanceof DataDirectoryInUse || error instanceof MigrationError;
  return ours ? failed(error.message) : error;
}
