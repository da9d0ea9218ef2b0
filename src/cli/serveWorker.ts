/** `m2m serve` as a worker of another one: what its primary has set up is there. */
import cluster from 'node:cluster';
import { startWorker, type Channel } from '../platform/workers/worker';
import type { FromPrimary } from '../platform/workers/messages';
import type { Settings } from '../platform/config/settings';
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
  const started = await start(settings, channel).catch((error: unknown) => {
    // The primary says it, once for all of its workers.
    channel.tell({ kind: 'failed', why: startFailure(error, settings) });
    process.exitCode = 1;
  });
  if (started === undefined) return void cluster.worker?.disconnect();
  const { running, sink } = started;
  await Promise.race([running.sentAway, signal]);
  await running.stop();
  await sink.flush();
  cluster.worker?.disconnect();
}

async function start(settings: Settings, channel: Channel) {
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
  );
  return { running, sink };
}

function primaryChannel(): Channel {
  return {
    tell: (message) => void process.send?.(message, undefined, undefined, () => undefined),
    onMessage: (hear) => void process.on('message', (message) => hear(message as FromPrimary)),
  };
}
