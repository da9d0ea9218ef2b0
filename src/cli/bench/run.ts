/** `m2m bench` from its plan to its exit code. */
import { readFileSync, writeFileSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Target } from '../../terminal/load/link';
import { LOGINS_A_WINDOW } from '../../terminal/load/plan';
import { CURVE_STEP, merge, pack } from '../../terminal/load/tally';
import { failed, usage } from '../errors';
import { CpuMeter } from './cpuMeter';
import { Load, type Measured } from './load';
import { checkOpenFiles, machineFacts } from './machine';
import type { BenchPlan } from './options';
import { stormSvg } from './plot';
import { provision } from './provision';
import { reportText, type Report } from './report';
import { beatRow, loginRow, stormRow, type LoginRow, type StormRow } from './results';
import { openStage, type Stage } from './stage';

/** What a staged gateway has open besides the terminals' connections. */
const GATEWAY_FILES = 400;

/** Runs until it is done or a signal comes; what was staged is gone afterwards, however it ended. */
export async function runBench(plan: BenchPlan): Promise<void> {
  if (plan.connect === undefined && plan.databaseUrl !== undefined)
    throw usage('--database-url is for --connect: without it the database is one of its own');
  const databaseUrl = plan.connect === undefined || plan.echo ? undefined : databaseUrlOf(plan);
  checkOpenFiles(connectionsOf(plan), plan.connect === undefined ? GATEWAY_FILES : 0);
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(failed('stopped by a signal'));
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);
  let stage: Stage | undefined;
  try {
    stage = plan.connect === undefined ? await openStage(stop.signal) : undefined;
    const target = stage ?? (await resolved(plan.connect as Target));
    const report = await unlessStopped(
      stop.signal,
      measure(plan, target, stage?.databaseUrl ?? databaseUrl ?? '', stage, stop.signal),
    );
    show(plan, report);
  } finally {
    await stage?.remove();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
  }
}

/** Where --connect leads. What is no URL is not shown: it may hold a password. */
function databaseUrlOf(plan: BenchPlan): string {
  const url = plan.databaseUrl ?? process.env['DATABASE_URL'];
  if (url === undefined)
    throw usage('--connect needs --database-url (or DATABASE_URL): the terminals are provisioned there');
  if (/^postgres(ql)?:\/\/\S+$/.test(url) && isUsable(url)) return url;
  const name = plan.databaseUrl === undefined ? 'DATABASE_URL' : '--database-url';
  throw usage(`${name} holds something else than postgresql://user:password@host:port/database`);
}

function isUsable(url: string): boolean {
  try {
    // Not WHATWG's: one with a socket's folder in place of a host is good.
    return new Client({ connectionString: url }).database !== undefined;
  } catch {
    return false;
  }
}

function connectionsOf({ shape, connections, terminals, concurrency, loop, beating }: BenchPlan): number {
  const each = shape === 'storm' || connections === 'persistent' || loop === 'open' || shape === 'ramp';
  // An open loop over new connections takes what it finds.
  const wanted = connections === 'new' && shape !== 'storm' && each ? Math.min(terminals, 1000) : terminals;
  return (each ? wanted : concurrency) + beating;
}

async function resolved({ host, port }: Target): Promise<Target> {
  try {
    return { host: (await lookup(host)).address, port };
  } catch (error) {
    throw failed(`${host} cannot be resolved: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
}

async function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  stopped.catch(() => undefined);
  work.catch(() => undefined);
  return Promise.race([work, stopped]);
}

async function measure(
  plan: BenchPlan,
  target: Target,
  databaseUrl: string,
  stage: Stage | undefined,
  stop: AbortSignal,
): Promise<Report> {
  await reachable(target);
  const postgres = plan.echo ? undefined : (await provision(databaseUrl, plan.seed, plan, stop)).postgres;
  stop.throwIfAborted();
  // Only these two: threads are given copies, and a stage cannot be copied.
  const meter = new CpuMeter(stage?.pid);
  const load = new Load(plan, { host: target.host, port: target.port }, () => meter.start());
  const onStop = (): void => void load.end();
  stop.addEventListener('abort', onStop, { once: true });
  try {
    await load.prepare();
    const measured = await rows(plan, load);
    const { processors, ...cpu } = meter.since();
    const beats = await load.endBeats();
    const sum = merge(measured.map(({ tally }) => pack(tally)));
    return {
      shape: plan.shape,
      options: optionsOf(plan),
      machine: { ...machineFacts(), postgres, ...gatewayFacts(stage) },
      logins: measured.map((one) => rowOf(plan, one)),
      heartbeats: beats && beatRow(beats, plan.beating),
      cpu_seconds: cpu,
      generator: {
        threads: plan.threads,
        processors,
        verified: sum.verified,
        signed_late: sum.signedLate,
      },
      notes: notesOf(plan, sum),
    };
  } finally {
    stop.removeEventListener('abort', onStop);
    await load.end();
  }
}

/** A gateway that is away is one clear line, and not a table of refused connections. */
function reachable({ host, port }: Target): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: 60_000 });
    const away = (why: string): void => {
      socket.destroy();
      reject(failed(`cannot connect to ${host}:${port}: ${why}`));
    };
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('timeout', () => away('no answer within 60 s'));
    socket.once('error', ({ code, message }: NodeJS.ErrnoException) => away(code ?? message));
  });
}

async function rows(plan: BenchPlan, load: Load): Promise<Measured[]> {
  if (plan.shape === 'storm') return [await load.storm()];
  if (plan.shape === 'steady') return [await load.steady()];
  const [first = 0] = plan.rates;
  if (plan.warmUp > 0) await load.open(first, 0, plan.warmUp);
  const measured: Measured[] = [];
  for (const rate of plan.rates) measured.push(await load.open(rate, 0, plan.seconds ?? 0));
  return measured;
}

function rowOf(plan: BenchPlan, { tally, from, rate }: Measured): LoginRow | StormRow {
  return plan.shape === 'storm'
    ? stormRow(tally, from, plan.terminals, CURVE_STEP)
    : loginRow(tally, from, rate);
}

/** Without secrets: a URL may hold a password. */
function optionsOf({ databaseUrl: _, json: _json, ...plan }: BenchPlan): Record<string, unknown> {
  return plan;
}

function gatewayFacts(stage: Stage | undefined): Record<string, unknown> {
  if (stage === undefined) return {};
  const file = join(__dirname, '..', '..', '..', 'package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  return { gateway: version, settings: stage.settings };
}

function notesOf(plan: BenchPlan, sum: { exhausted: number; signedLate: number }): string[] {
  const notes: string[] = [];
  if (sum.exhausted > 0) {
    notes.push(
      `ended early: every terminal had logged in ${LOGINS_A_WINDOW} times, and more are throttled; take more than --terminals ${plan.terminals}`,
    );
  }
  if (sum.signedLate > 0) notes.push(`${sum.signedLate} frames were signed while the clock ran`);
  return notes;
}

function show(plan: BenchPlan, report: Report): void {
  const storm = report.logins.find((row): row is StormRow => 'curve' in row);
  if (plan.svg !== undefined && storm !== undefined) {
    const title = `${storm.terminals} terminals within ${plan.within} s`;
    writeFileSync(plan.svg, stormSvg(storm.curve, title));
  }
  process.stdout.write(plan.json ? `${JSON.stringify(report, undefined, 2)}\n` : reportText(report));
  const bad = report.logins.reduce((sum, row) => sum + row.failed, 0);
  if (bad > 0) throw failed(`${bad} logins failed`);
  if (report.logins.every(({ ok, wrong_password: wrong }) => ok + (wrong?.auth_failed ?? 0) === 0))
    throw failed('no login was answered');
}
