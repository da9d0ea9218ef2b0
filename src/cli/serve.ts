/** `m2m serve`: the gateway, from settings to SIGTERM. */
import cluster from 'node:cluster';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { unknownSettings, type Settings } from '../platform/config/settings';
import { startGateway, type Running } from '../platform/gateway';
import type { CertificateKeeper } from '../platform/listener/certificateKeeper';
import { KeysDoNotFit } from '../platform/store/sealingKeys';
import { outliveOutput } from './closedOutput';
import { openDatabase } from './database';
import { failed } from './errors';
import {
  checkedSettings,
  endAtOnce,
  checkKeys,
  endSignal,
  newKeys,
  oldKeys,
  openLog,
  type OpenLog,
  opsTokens,
  say,
  startFailure,
  tlsCertificate,
  unlessEnded,
} from './serveParts';
import { serveAsWorker } from './serveWorker';

export function register(program: Command): void {
  program
    .command('serve')
    .description('runs the gateway; settings come from the environment (docs/settings.md)')
    .action(() => {
      outliveOutput();
      return cluster.isWorker ? serveAsWorker() : serve();
    });
}

async function serve(): Promise<void> {
  const settings = checkedSettings();
  for (const name of unknownSettings(process.env)) say(`${name} is not a setting of this release: ignored`);
  if (settings.proxyProtocol === 'off' && settings.proxyTrusted.length > 0)
    say('M2M_PROXY_TRUSTED is ignored while M2M_PROXY_PROTOCOL is off');
  if (settings.tlsListen === undefined && (settings.tlsCert ?? settings.tlsKey) !== undefined)
    say('M2M_TLS_CERT and M2M_TLS_KEY are ignored while M2M_TLS_LISTEN is not set');
  await serveUntil({
    settings,
    tokens: opsTokens(settings),
    certificate: tlsCertificate(settings),
    keysAreThere: checkKeys(settings),
    ...(await openLog(settings)),
    ending: endSignal(),
  });
}

interface ServeParts extends OpenLog {
  readonly settings: Settings;
  readonly tokens: ReturnType<typeof opsTokens>;
  readonly certificate: CertificateKeeper | undefined;
  readonly keysAreThere: boolean;
  /** Resolves when it is to end, before it serves or afterwards. */
  readonly ending: Promise<void>;
}

async function serveUntil(parts: ServeParts): Promise<void> {
  const { settings, ending, sink } = parts;
  const endInOrder = settings.databaseUrl === undefined ? undefined : endAtOnce(ending);
  const onUnexpectedExit = (why: string): void => say(`the embedded PostgreSQL: ${why}`);
  const database = await unlessEnded(ending, openDatabase(settings, onUnexpectedExit));
  endInOrder?.();
  if (database === undefined) return;
  let isTold: boolean;
  try {
    const running = await unlessEnded(ending, started(parts, database.url));
    if (running === undefined) return;
    introduce(running, settings);
    await ending;
    await running.stop();
    isTold = await sink.flush();
  } finally {
    await database.close();
  }
  // What a reader that stands still has not taken would keep the process for as long as he does.
  if (!isTold || process.stderr.writableLength > 0) process.exit();
}

async function started(parts: ServeParts, databaseUrl: string): Promise<Running> {
  const { settings, tokens, certificate, log, sink, ending } = parts;
  // Made last: a start that comes to nothing must not leave keys that would look like those of the database. Read
  // again: a key may have been added, and used by another gateway, while this one waited for the database.
  const { keys, undo } = parts.keysAreThere ? oldKeys(settings) : newKeys(settings);
  return startGateway({
    settings,
    databaseUrl,
    keys,
    tokens,
    certificate,
    log,
    relay: (lines) => sink.relay(lines),
    droppedLogLines: parts.dropped,
    ending,
  }).catch((error: unknown) => {
    if (error instanceof KeysDoNotFit) undo();
    throw failed(startFailure(error, settings));
  });
}

function introduce({ listen, opsListen, tlsListen }: Running, settings: Settings): void {
  say(`terminals connect to ${listen}${tlsListen === undefined ? '' : `, inside TLS to ${tlsListen}`}`);
  say('open psql with: psql "$(npx m2m db-url)"');
  say(`health and metrics: http://${opsListen}/healthz /readyz /metrics`);
  say(`back up ${resolve(settings.keyFile)}: losing it is losing the fleet`);
}
