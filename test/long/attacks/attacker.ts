/** Carries out a row of the table, or what goes on every day, in a process of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { atRate, serve } from '../../support/crew';
import type { Terminal } from '../../support/oracle';
import { Field } from './field';
import type { Where } from './heartbeats';
import { ATTACKS, EVERYDAY } from './table';

export interface Done {
  readonly acts: number;
  readonly admitted: number;
}

/** Milliseconds for answers to what was done last. */
const LAST_ANSWERS = 300;

/** The same in all turns: victims come in turn, or the first of them would log in more often than a terminal may. */
let field: Field;

const orders = {
  meet({ where, victims }: { where: Where; victims: readonly Terminal[] }): void {
    field = new Field(where, victims);
  },

  /** @returns how often it was done, and how many logins were answered with OK where they are honest */
  async attack({ name, perSecond, ms }: { name: string; perSecond: number; ms: number }): Promise<Done> {
    const { admitted } = field;
    try {
      const { begin } = [EVERYDAY, ...ATTACKS].find((attack) => attack.name === name)!;
      const acts = await atRate(perSecond, ms, begin(field));
      await sleep(LAST_ANSWERS);
      return { acts, admitted: field.admitted - admitted };
    } finally {
      field.clear();
    }
  },
};

export type AttackerOrders = typeof orders;
serve(orders);
