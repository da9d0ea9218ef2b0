/** The results of a load test as tables. */
import { stormPlot } from './plot';
import type { BeatRow, Latency, LoginRow, StormRow } from './results';

export interface Report {
  readonly shape: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly machine: Readonly<Record<string, unknown>>;
  readonly logins: readonly (LoginRow | StormRow)[];
  readonly heartbeats: BeatRow | undefined;
  /** Over the whole measurement; gateway and database where they are staged and /proc tells. */
  readonly cpu_seconds: { readonly generator: number; readonly gateway?: number; readonly postgres?: number };
  readonly generator: {
    readonly threads: number;
    /** Processors that it kept busy, on average. */
    readonly processors: number;
    readonly verified: number;
    readonly signed_late: number;
  };
  /** Sentences on what to know about these numbers. */
  readonly notes: readonly string[];
}

const LATENCIES = ['p50', 'p90', 'p99', 'p99_9', 'max'] as const;
const HEAD = ['logins/s', 'ok', 'failed', 'p50', 'p90', 'p99', 'p99.9', 'max'];

export function reportText(report: Report): string {
  const { logins, heartbeats } = report;
  const isRamp = report.shape === 'ramp';
  const head = isRamp ? ['wanted/s', ...HEAD] : HEAD;
  const rows = logins.map((row) => [...(isRamp ? [number(row.rate ?? 0)] : []), ...loginCells(row)]);
  const parts = [table([head, ...rows]), ...logins.flatMap((row) => detailsOf(row, isRamp))];
  const last = logins.at(-1);
  if (last !== undefined && 'curve' in last) parts.push(...stormLines(last));
  if (heartbeats !== undefined) parts.push(beatText(heartbeats));
  parts.push(cpuText(report), ...report.notes);
  return `${parts.filter(Boolean).join('\n')}\n`;
}

function loginCells(row: LoginRow): string[] {
  return [number(row.logins_per_second), String(row.ok), String(row.failed), ...latencyCells(row.latency_ms)];
}

function latencyCells(latency: Latency | undefined): string[] {
  return LATENCIES.map((name) => (latency === undefined ? '-' : milliseconds(latency[name])));
}

function detailsOf(row: LoginRow, isRamp: boolean): string[] {
  const at = isRamp ? `at ${number(row.rate ?? 0)}/s: ` : '';
  const lines: string[] = [];
  const add = (what: string): unknown => lines.push(at + what);
  if (Object.keys(row.refused).length > 0) add(`not OK: ${counts(row.refused)}`);
  if (row.wrong_password) {
    const { auth_failed, other, latency_ms } = row.wrong_password;
    add(`wrong password: AUTH_FAILED ${auth_failed}${latencyText(latency_ms)}`);
    if (Object.keys(other).length > 0) add(`wrong password, other answers: ${counts(other)}`);
  }
  if (row.start_delay_ms && !isRamp)
    add(
      `begun later than due: p99 ${milliseconds(row.start_delay_ms.p99)} ms, max ${milliseconds(row.start_delay_ms.max)} ms`,
    );
  if (row.unsent !== undefined)
    add(`${row.unsent} logins were due and could not be begun: every terminal was under way`);
  return lines;
}

function stormLines(row: StormRow): string[] {
  const state =
    row.still_outside === 0
      ? `${row.in} of ${row.terminals} terminals in after ${row.seconds} s`
      : `${row.still_outside} of ${row.terminals} terminals are still outside`;
  const off = Object.keys(row.put_off).length > 0 ? `; attempts put off: ${counts(row.put_off)}` : '';
  return [state + off, stormPlot(row.curve)];
}

function beatText({ terminals, beats, failed, connections_lost, latency_ms }: BeatRow): string {
  const bad = Object.keys(failed).length > 0 ? `, failed: ${counts(failed)}` : '';
  const lost = connections_lost > 0 ? `, connections lost: ${connections_lost}` : '';
  return `heartbeats of ${terminals} terminals: ${beats} answered${latencyText(latency_ms)}${bad}${lost}`;
}

function latencyText(latency: Latency | undefined): string {
  if (latency === undefined) return '';
  return `, ms: ${LATENCIES.map((name) => `${name.replace('_', '.')} ${milliseconds(latency[name])}`).join(', ')}`;
}

function cpuText({ cpu_seconds: cpu, generator }: Report): string {
  const others = [
    cpu.gateway === undefined ? '' : `, gateway ${cpu.gateway.toFixed(1)}`,
    cpu.postgres === undefined ? '' : `, PostgreSQL ${cpu.postgres.toFixed(1)}`,
  ].join('');
  const own = `generator ${cpu.generator.toFixed(1)} (${generator.processors.toFixed(2)} processors)`;
  return `CPU seconds: ${own}${others}; ${generator.verified} answers verified`;
}

function counts(by: Readonly<Record<string, number>>): string {
  return Object.entries(by)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ');
}

const number = (value: number): string => value.toFixed(value < 100 ? 1 : 0);
const milliseconds = (value: number): string => value.toFixed(value < 10 ? 2 : 1);

/** Columns set to the right, two blanks between them; latencies are milliseconds. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')).join('\n');
}
