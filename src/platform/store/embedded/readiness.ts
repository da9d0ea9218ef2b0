import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { EmbeddedError, codeOf, sayingOf } from './errors';
import { OWNER, PORT, urlOf } from './layout';

const POLL_MS = 20;
const LONGEST_SILENCE_MS = 60_000;

// https://www.postgresql.org/docs/18/errcodes-appendix.html
const STARTING_OR_STOPPING = '57P03';
const NO_SUCH_DATABASE = '3D000';
const EXISTS_ALREADY = '42P04';

async function connected(url: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: url, ssl: false, connectionTimeoutMillis: 10_000 });
  // A server that dies while one is connected must not end this process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Whether a server lets somebody in at this URL. */
export async function accepts(url: string): Promise<boolean> {
  return connected(url, () => Promise.resolve()).then(
    () => true,
    () => false,
  );
}

/** Whether anything answers on the socket, be it only to say that it is starting or stopping. */
export async function answers(socketDir: string): Promise<boolean> {
  try {
    await connected(urlOf(socketDir, OWNER), () => Promise.resolve());
    return true;
  } catch (error) {
    return /^[0-9A-Z]{5}$/.test(codeOf(error));
  }
}

async function createDatabase(socketDir: string): Promise<void> {
  await connected(urlOf(socketDir, 'postgres'), (client) => client.query(`CREATE DATABASE ${OWNER}`)).catch(
    (error: unknown) => {
      if (codeOf(error) !== EXISTS_ALREADY) throw error;
    },
  );
}

/**
 * Waits until the server takes connections to the product's database, which is made where it is missing.
 * A server that says it is recovering gets all the time it wants.
 */
export async function untilReady(socketDir: string, given: AbortSignal): Promise<void> {
  const socket = join(socketDir, `.s.PGSQL.${PORT}`);
  let heard = performance.now();
  let last: unknown;
  while (!given.aborted && performance.now() - heard < LONGEST_SILENCE_MS) {
    try {
      await access(socket);
      return await connected(urlOf(socketDir, OWNER), () => Promise.resolve());
    } catch (error) {
      last = error;
      if (codeOf(error) === NO_SUCH_DATABASE) {
        await createDatabase(socketDir).catch((reason: unknown) => void (last = reason));
      }
      await sleep(POLL_MS);
      if (codeOf(error) === STARTING_OR_STOPPING) heard = performance.now();
    }
  }
  throw new EmbeddedError(`the embedded PostgreSQL does not let anybody in: ${sayingOf(last)}`);
}
