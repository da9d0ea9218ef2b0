/** What each process of a gateway is told of the others. */
import type { Counts } from './messages';

/** @returns for each of them the sum of all the others */
export function elsewhereOf(all: readonly Counts[]): Counts[] {
  const connections = all.reduce((sum, each) => sum + each.connections, 0);
  const newcomers = new Map<string, number>();
  for (const each of all) {
    for (const [source, count] of each.newcomers) newcomers.set(source, (newcomers.get(source) ?? 0) + count);
  }
  return all.map((own) => {
    const others = new Map(newcomers);
    for (const [source, count] of own.newcomers) others.set(source, (others.get(source) ?? 0) - count);
    return {
      connections: connections - own.connections,
      newcomers: [...others].filter(([, count]) => count > 0),
    };
  });
}
