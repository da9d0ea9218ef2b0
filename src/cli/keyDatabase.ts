/** The database as the key and packet commands use it: one connection of its owner, rows as arrays. */
import { Client, type QueryArrayResult } from 'pg';
import { connectionSettings } from '../platform/store/connections';
import type { Settings } from '../platform/config/settings';
import { borrowDatabase } from './database';
import { failed } from './errors';

export interface OwnConnection {
  query(statement: { text: string; values?: unknown[] }): Promise<QueryArrayResult<unknown[]>>;
}

/** Runs `work` on a connection that is closed afterwards. What the database refuses is a failure in one line. */
export async function withDatabase<T>(
  settings: Settings,
  work: (connection: OwnConnection) => Promise<T>,
): Promise<T> {
  const database = await borrowDatabase(settings);
  const client = new Client(connectionSettings(database.url, settings.databaseTimeout * 1000));
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work({ query: (statement) => client.query<unknown[]>({ ...statement, rowMode: 'array' }) });
  } catch (error) {
    throw (error as { code?: string }).code !== undefined ? failed((error as Error).message) : error;
  } finally {
    await client.end().catch(() => undefined);
    await database.close();
  }
}
