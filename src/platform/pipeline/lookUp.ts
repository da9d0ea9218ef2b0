/** A terminal as the database has it, or nobody. */
import type { FreshView } from '../store/terminals';
import { pause, type PipelineContext } from './context';

/**
 * Asks the database, but for a serial of which it said a moment ago that nobody has it.
 *
 * This is the one exception to the rule that a terminal is read afresh before it is refused. It cannot refuse who is
 * provisioned: the feed of changes names a new serial, which is forgotten here then, and all are forgotten after a
 * time in which the feed could not be read. It tells nothing by its time: a stranger that is spared the query is
 * checked against the decoy like any other, waits for as long as the latest lookup took, and its refusal leaves at
 * M2M_REFUSAL_DELAY. And where no lookup has succeeded within the last second the database is asked after all, so
 * that one that hangs makes strangers wait for their BUSY with everybody else.
 *
 * Throws DatabaseAway.
 */
export async function lookUp(
  { store, strangers, now }: PipelineContext,
  serial: string,
): Promise<FreshView | undefined> {
  const { lookupTime } = store;
  if (lookupTime !== undefined && strangers.has(serial, now())) {
    await pause(lookupTime);
    return undefined;
  }
  const mark = strangers.mark();
  const view = await store.find(serial);
  if (view === undefined) strangers.add(serial, mark, now());
  return view;
}
