/** `m2m serve` as a worker of another one: what its primary has set up is there. */
import cluster from 'node:cluster';
import { startWorker, type Channel } from '../platform/workers/worker';
import type { FromPrimary } from '../platform/workers/messages';
import { readKeyFile } from '../platform/keys/keyFile';
import {
  checkedSettings,
  endSignal,
  openLog,
  startFailure,
  tlsCertificate,
  usingKeyFile,
} from './serveParts';

export async function serveAsWorker(): Promise<void> {
  const settings = checkedSettings();
  const channel = primaryChannel();
  const signal = endSignal();
  const { log, sink, dropped } = await openLog(settings);
  const running = await startWorker(
    {
      settings,
      databaseUrl: settings.databaseUrl ?? '',
      keys: usingKeyFile(() => readKeyFile(settings.keyFile)),
      certificate: tlsCertificate(settings),
      log,
      droppedLogLines: dropped,
    },
    channel,
  ).catch((error: unknown) => {
    // The primary says it, once for all of its workers.
    channel.tell({ kind: 'failed', why: startFailure(error, settings) });
    process.exitCode = 1;
  });
  if (running === undefined) return void cluster.worker?.disconnect();
  await Promise.race([running.sentAway, signal]);
  await running.stop();
  await sink.flush();
  cluster.worker?.disconnect();
}

function primaryChannel(): Channel {
  return {
    tell: (message) => void process.send?.(message, undefined, undefined, () => undefined),
    onMessage: (hear) => void process.on('message', (message) => hear(message as FromPrimary)),
  };
}
