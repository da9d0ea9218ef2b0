/** Carries out a row of the table, or what goes on every day, in a process of its own. */
import { atRate, serve } from '../../support/crew';
import type { Terminal } from '../../support/oracle';
import { Field } from './field';
import type { Where } from './heartbeats';
import { ATTACKS, EVERYDAY } from './table';

let where: Where | undefined;
let victims: readonly Terminal[] = [];

const orders = {
  meet(target: { where: Where; victims: readonly Terminal[] }): void {
    ({ where, victims } = target);
  },

  /** @returns how often it was done */
  async attack({ name, perSecond, ms }: { name: string; perSecond: number; ms: number }): Promise<number> {
    const field = new Field(where!, victims);
    try {
      const { begin } = [EVERYDAY, ...ATTACKS].find((attack) => attack.name === name)!;
      return await atRate(perSecond, ms, begin(field));
    } finally {
      field.clear();
    }
  },
};

export type AttackerOrders = typeof orders;
serve(orders);
