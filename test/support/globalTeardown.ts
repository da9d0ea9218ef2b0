import { rm } from 'node:fs/promises';

import './globalSetup';

export default async function globalTeardown(): Promise<void> {
  const running = globalThis.m2mTestServer;
  if (running === undefined) return;
  await running.server.stop();
  await rm(running.dataDir, { recursive: true, force: true });
}
