/** A gateway that is told to end before it has begun. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createDatabase } from '../support/database';
import { eventually } from '../support/eventually';
import { testHome } from '../support/gateway';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

test('SIGTERM while it waits for a database that is silent: exit 0, and no patience for the answer', async () => {
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const home = testHome();
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: `postgresql://m2m@127.0.0.1:${port}/m2m`,
      M2M_KEY_FILE: home.keyFile,
      M2M_LISTEN: '127.0.0.1:0',
      M2M_OPS_LISTEN: '127.0.0.1:0',
    },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  await Promise.race([once(silent, 'connection'), ended]);
  child.kill('SIGTERM');
  // Else it fails with the database, by 1.
  expect(await ended).toEqual([0, null]);
  silent.close();
  home.remove();
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s to all of its processes while its workers are just being started: exit 0, and none is said to be lost',
  async (signal) => {
    const database = await createDatabase();
    const home = testHome();
    const child = spawn(process.execPath, [MAIN, 'serve'], {
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: database.url,
        M2M_KEY_FILE: home.keyFile,
        M2M_LISTEN: '127.0.0.1:0',
        M2M_OPS_LISTEN: '127.0.0.1:0',
        M2M_DATABASE_TIMEOUT: '120',
        M2M_WORKERS: '2',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let said = '';
    for (const output of [child.stdout, child.stderr])
      output.on('data', (chunk: Buffer) => (said += String(chunk)));
    const ended = once(child, 'close');
    const pid = child.pid!;
    await eventually('a worker', () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8') !== '');
    // As a terminal does, and a service manager: workers have no handlers yet.
    process.kill(-pid, signal);
    expect(await ended).toEqual([0, null]);
    expect(said).not.toMatch(/before it was ready|worker-lost/);
    await database.drop();
    home.remove();
  },
);
