/** What the primary process of a gateway and its workers tell each other, over the channel of node:cluster. */
import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { Open } from '../gate';
import type { Crowds } from '../listener/newcomers';

export type MetricDump = MetricObjectWithValues<MetricValue<string>>[];

export interface Counts {
  readonly connections: number;
  readonly newcomers: Crowds;
}

export type FromWorker =
  /** Serves terminals. `room`: connections that its own limits leave room for; `instance`: its row in m2m.instance. */
  | { readonly kind: 'ready'; readonly open: Open; readonly room: number; readonly instance: number }
  /** Its row in m2m.instance is another one now: the database was restored. */
  | { readonly kind: 'renumbered'; readonly instance: number }
  /** Could not start, and ends. */
  | { readonly kind: 'failed'; readonly why: string }
  /** A text for somebody has been committed to the outbox. */
  | { readonly kind: 'texted' }
  /** What has changed; where nothing has, now and then all the same: it lives. */
  | ({ readonly kind: 'count' } & Counts)
  | { readonly kind: 'metrics'; readonly metrics: MetricDump };

export type FromPrimary =
  /** Of all the others. */
  ({ readonly kind: 'elsewhere' } & Counts) | { readonly kind: 'collect' } | { readonly kind: 'stop' };

/** Milliseconds between two looks at how many connections there are. */
export const COUNT_INTERVAL = 250;
/** Looks after which a worker tells what it has told before. */
export const LOOKS_IN_SILENCE = 20;
