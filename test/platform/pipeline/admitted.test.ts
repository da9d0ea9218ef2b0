/** Logins that are let in, and what they wait for. */
import { Admission } from '../../../src/platform/flows/admission';
import { admitted, type PipelineContext } from '../../../src/platform/pipeline/context';

const OLDEST = 2_000;

test('a login that waits for its row turns nobody away; one that waits for the database does', async () => {
  let now = 1_800_000_000_000;
  const admission = new Admission(OLDEST, () => 0.5);
  const context = { admission, now: () => now } as unknown as PipelineContext;
  const other = () => admitted(context, () => Promise.resolve('worked on'));
  const outcome = await admitted(context, async (aside) => {
    const paused = aside(1);
    now += OLDEST;
    expect(await other()).toBe('worked on');
    await paused;
    expect(await other()).toBe('worked on');
    now += OLDEST;
    expect(await other()).toMatchObject({ result: 'BUSY', detail: 'later-turn' });
    return 'done';
  });
  expect(outcome).toBe('done');
  expect(admission.size).toBe(0);
});
