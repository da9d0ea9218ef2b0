/** What `m2m serve` needs before it starts: settings, keys, tokens, the certificate, the log. */
import { existsSync, fstatSync, unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { readSettings, SettingError, type Settings } from '../platform/config/settings';
import { KeyFileError, makeKeyFile, readKeyFile, type GatewayKeys } from '../platform/keys/keyFile';
import { CertificateError } from '../platform/listener/certificate';
import { CertificateKeeper } from '../platform/listener/certificateKeeper';
import { createLog, type Log } from '../platform/ops/log';
import { OpenLineFile, type OnRoom } from '../platform/ops/lineFile';
import { LogFile } from '../platform/ops/logFile';
import { LogSink } from '../platform/ops/logSink';
import { readTokenFile, TokenFileError } from '../platform/ops/tokenFile';
import { KeysDoNotFit } from '../platform/store/sealingKeys';
import { makeDataFolder } from './database';
import { usage } from './errors';
import { listenFailure } from './listenFailure';

/** Wrong settings and keys end the command with 2 before anything is started. */
export function checkedSettings(): Settings {
  try {
    return readSettings(process.env);
  } catch (error) {
    throw error instanceof SettingError ? usage(error.message) : error;
  }
}

export interface OpenLog {
  readonly log: Log;
  readonly sink: LogSink;
  readonly dropped: () => number;
}

/** Standard output, or the file of M2M_LOG_FILE. */
export async function openLog(settings: Settings): Promise<OpenLog> {
  const onRoom: OnRoom = (lost, code) =>
    log.event('log-lines-lost', {
      message: `${lost} log lines could not be written (${code}); there is room again`,
      level: 'warn',
      outcome: 'failure',
      detail: code,
      count: lost,
    });
  const file = (await logFile(settings, onRoom)) ?? outputFile(onRoom);
  const sink = new LogSink(file ?? process.stdout);
  const log = createLog({
    sink,
    level: settings.logLevel,
    gateway: settings.gatewayId,
    identifiers: settings.logIdentifiers,
  });
  return { log, sink, dropped: () => sink.dropped + (file?.dropped ?? 0) };
}

/** A key file that cannot be used is a wrong setting. */
export function usingKeyFile<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof KeyFileError ? usage(error.message) : error;
  }
}

/** Throws where the key file cannot be used. @returns false: the default one is not there, and is to be made */
export function checkKeys({ keyFile, ownKeyFile }: Settings): boolean {
  if (ownKeyFile && !existsSync(keyFile)) return false;
  usingKeyFile(() => readKeyFile(keyFile));
  return true;
}

/** The keys, and what takes the file away again where it was made just now. */
interface StartKeys {
  readonly keys: GatewayKeys;
  readonly undo: () => void;
}

export function oldKeys({ keyFile }: Settings): StartKeys {
  return { keys: usingKeyFile(() => readKeyFile(keyFile)), undo: () => undefined };
}

export function newKeys(settings: Settings): StartKeys {
  const { keyFile } = settings;
  return usingKeyFile(() => {
    makeDataFolder(settings);
    const made = makeKeyFile(keyFile);
    return { keys: readKeyFile(keyFile), undo: () => made && unlinkSync(keyFile) };
  });
}

async function logFile(
  { logFile: path, logFileSize, logFileKeep }: Settings,
  onRoom: OnRoom,
): Promise<LogFile | undefined> {
  if (path === undefined) return undefined;
  const size = logFileSize * 1024 * 1024;
  const onError = once((error) => say(`${path} cannot be rotated: ${codeOf(error)}`));
  return LogFile.open({ path, size, keep: logFileKeep, now: Date.now, onError, onRoom }).catch(
    (error: unknown) => {
      throw usage(`M2M_LOG_FILE: ${path} cannot be written: ${codeOf(error)}`);
    },
  );
}

/** Standard output, where it leads to a file. */
function outputFile(onRoom: OnRoom): OpenLineFile | undefined {
  const descriptor = 1;
  return fstatSync(descriptor).isFile() ? new OpenLineFile(descriptor, Date.now, onRoom) : undefined;
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

/** Only the first time: the same trouble comes with every line. */
function once(act: (error: unknown) => void): (error: unknown) => void {
  let told = false;
  return (error) => {
    if (!told) act(error);
    told = true;
  };
}

export function opsTokens({ opsTokenFile: file }: Settings) {
  try {
    return file === undefined ? undefined : { file, first: readTokenFile(file) };
  } catch (error) {
    throw error instanceof TokenFileError ? usage(`M2M_OPS_TOKEN_FILE: ${error.message}`) : error;
  }
}

export function tlsCertificate({ tlsListen, tlsCert, tlsKey }: Settings): CertificateKeeper | undefined {
  if (tlsListen === undefined) return undefined;
  if (tlsCert === undefined) throw usage('M2M_TLS_CERT is not set: M2M_TLS_LISTEN needs a certificate');
  if (tlsKey === undefined)
    throw usage('M2M_TLS_KEY is not set: M2M_TLS_LISTEN needs the key of its certificate');
  try {
    return new CertificateKeeper({ cert: tlsCert, key: tlsKey });
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    // It names its file first.
    const variable = error.message.startsWith(`${tlsKey}: `) ? 'M2M_TLS_KEY' : 'M2M_TLS_CERT';
    throw usage(`${variable}: ${error.message}`);
  }
}

/**
 * Resolves at the first SIGTERM or SIGINT. Handlers stay: a second signal (npm passes on what its process group got
 * already) must not cut the drain short.
 */
export function endSignal(): Promise<void> {
  return new Promise((done) => {
    process.on('SIGTERM', () => done());
    process.on('SIGINT', () => done());
    // A terminal that is closed takes the gateway with it in the same orderly way.
    process.on('SIGHUP', () => done());
  });
}

/**
 * Ctrl-C, and service managers, tell all processes at once: those that were just starting die of it.
 *
 * @returns what a step of the start came to; undefined: it failed when it was to end, which is no failure
 */
export async function unlessEnded<T>(ending: Promise<void>, step: Promise<T>): Promise<T | undefined> {
  try {
    return await step;
  } catch (error) {
    // What the signal did to others may be heard of before the signal.
    const notYet = new Promise<false>((resolve) => setImmediate(resolve, false));
    if (await Promise.race([ending.then(() => true), notYet])) return undefined;
    throw error;
  }
}

/**
 * Before anything is served nobody is sent away: who ends a gateway that waits for a silent database, or for another
 * one's migration, does not wait with it. Not for the embedded server, which is stopped in order.
 *
 * @returns a function after which the signal is left to the caller
 */
export function endAtOnce(ending: Promise<void>): () => void {
  let waiting = true;
  void ending.then(() => {
    if (waiting) process.exit(0);
  });
  return () => (waiting = false);
}

/** Why a gateway did not start, for people. */
export function startFailure(error: unknown, settings: Settings): string {
  if (error instanceof KeysDoNotFit) return misfit(error, settings.keyFile);
  return listenFailure(error, settings) ?? (error instanceof Error ? error.message : String(error));
}

export function misfit(error: KeysDoNotFit, keyFile: string): string {
  return `M2M_KEY_FILE: ${resolve(keyFile)}: ${error.message}`;
}

export function say(line: string): void {
  process.stderr.write(`m2m: ${line}\n`);
}
