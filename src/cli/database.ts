/** The database that a command works with: the one named by DATABASE_URL, or the embedded one, started if need be. */
import { mkdtempSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
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

/** For the embedded database and the key file that is made. Throws where nothing can be put there. */
export function makeDataFolder({ dataDir }: Settings): void {
  attempt(`${dataDir} cannot be made`, () => makeFolder(dataDir));
  // By trying: what the mode of a folder says does not hold for root, nor on a file system that is read-only.
  attempt(`nothing can be written in ${dataDir}`, () => rmdirSync(mkdtempSync(join(dataDir, '.m2m-'))));
}

/** The setting is right: a service manager, which does not try again where it is wrong, should. */
const NO_ROOM = ['ENOSPC', 'EDQUOT'];

function attempt(problem: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    const end = NO_ROOM.includes(code) ? failed : usage;
    throw end(`M2M_DATA_DIR: ${problem}: ${code}`);
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
