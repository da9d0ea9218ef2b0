/**
 * The counters of all processes of a gateway as one. What a process that is gone had counted stays in the sums, as of
 * the last time that it was asked: a sum that fell back would look like a restart.
 */
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { MetricDump } from './messages';

/** Milliseconds for which a process is waited for; after that its last answer stands. */
const PATIENCE = 1_000;

export class Census {
  private readonly latest = new Map<number, MetricDump>();
  private readonly departed: MetricDump[] = [];
  private awaited = new Set<number>();
  private complete: () => void = () => undefined;
  private asked: Promise<string> | undefined;

  /** @param ask makes a process answer, by way of `answered` */
  constructor(
    private readonly own: Registry,
    private readonly ask: (id: number) => void,
  ) {}

  answered(id: number, metrics: MetricDump): void {
    this.latest.set(id, metrics);
    this.tick(id);
  }

  gone(id: number): void {
    const last = this.latest.get(id);
    this.latest.delete(id);
    this.tick(id);
    if (last !== undefined) this.departed.push(last.filter(grows));
  }

  /** In the exposition format of Prometheus. Calls that come while one is under way share its answer. */
  exposition(ids: readonly number[]): Promise<string> {
    this.asked ??= this.collect(ids).finally(() => {
      this.asked = undefined;
    });
    return this.asked;
  }

  private async collect(ids: readonly number[]): Promise<string> {
    await this.askAll(ids);
    // Many that are gone take no more room than one.
    this.departed.unshift(await dump(AggregatorRegistry.aggregate(this.departed.splice(0))));
    const living = [await dump(this.own), ...this.latest.values()];
    return AggregatorRegistry.aggregate([...living, ...this.departed]).metrics();
  }

  private async askAll(ids: readonly number[]): Promise<void> {
    this.awaited = new Set(ids);
    if (ids.length === 0) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, PATIENCE);
      this.complete = () => {
        clearTimeout(late);
        resolve();
      };
      for (const id of ids) this.ask(id);
    });
  }

  private tick(id: number): void {
    if (this.awaited.delete(id) && this.awaited.size === 0) this.complete();
  }
}

/** Counters and histograms; a gauge of a process that is gone says nothing any more. */
function grows({ type }: MetricDump[number]): boolean {
  return String(type) === 'counter' || String(type) === 'histogram';
}

export async function dump(registry: Registry): Promise<MetricDump> {
  return await registry.getMetricsAsJSON();
}
