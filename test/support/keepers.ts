/** Many keepers (keeper.ts) on gateways whose database comes and goes. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { GatewayProcess } from './gateway';
import { Keeper, type Book } from './keeper';
import { newTerminal, Operator } from './operator';
import type { Terminal } from './oracle';

/** An operator who asks the server that is there now, until he has an answer. */
export class Persistent {
  /** @param current its URL */
  constructor(private readonly current: () => string) {}

  async sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    for (;;) {
      try {
        const operator = await Operator.connect(this.current());
        try {
          return await operator.sql<Row>(text, values);
        } finally {
          await operator.close().catch(() => undefined);
        }
      } catch {
        await sleep(200);
      }
    }
  }
}

/** Without waiting for a gateway to seal them. */
export async function provisionEach(operator: Pick<Operator, 'sql'>, count: number): Promise<Terminal[]> {
  const terminals = Array.from({ length: count }, () => newTerminal());
  for (const one of terminals)
    await operator.sql('SELECT m2m.provision_terminal($1, $2, $3, $4, $5, $6)', [
      one.serial,
      one.imei,
      one.imsi,
      one.uplinkPassword,
      one.downlinkPassword,
      one.baseKey,
    ]);
  return terminals;
}

/** Logs in on one of the gateways, asks, and compares, until it is told to end; the last time it is to get in. */
export async function lead(
  book: Book,
  terminal: Terminal,
  gateways: readonly GatewayProcess[],
  goesOn: () => boolean,
): Promise<void> {
  const somewhere = () => gateways[Math.floor(book.random() * gateways.length)]!;
  const keeper = new Keeper(book, terminal);
  while (goesOn()) {
    await keeper.round(somewhere);
    // None may have more than 64 logins within ten minutes.
    await sleep(300 + book.random() * 1_000);
  }
  await keeper.logIn(somewhere);
  await keeper.compare();
  keeper.leave();
}

/** For standard output. */
export function countsOf({ counts }: Book): string {
  return [...counts]
    .map(([what, times]) => `  ${what}: ${times}\n`)
    .sort()
    .join('');
}
