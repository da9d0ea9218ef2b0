import type { PipelineContext } from '../../../src/platform/pipeline/context';
import { lookUp } from '../../../src/platform/pipeline/lookUp';
import { Strangers } from '../../../src/platform/store/strangers';
import type { FreshView } from '../../../src/platform/store/terminals';

const known = { record: { serial: 'known' } } as FreshView;

function make(lookupTime: number | undefined) {
  const asked: string[] = [];
  const store = {
    lookupTime,
    find: (serial: string) => {
      asked.push(serial);
      return Promise.resolve(serial === 'known' ? known : undefined);
    },
  };
  const context = { store, strangers: new Strangers(), now: () => 1_000 } as unknown as PipelineContext;
  return { context, asked, store };
}

test('who is there is read afresh each time; of nobody the database is asked once', async () => {
  const { context, asked } = make(0);
  for (const serial of ['known', 'known', 'nobody', 'nobody']) {
    expect(await lookUp(context, serial)).toBe(serial === 'known' ? known : undefined);
  }
  expect(asked).toEqual(['known', 'known', 'nobody']);
});

test('where no lookup has succeeded of late the database is asked, also of strangers', async () => {
  const { context, asked } = make(undefined);
  await lookUp(context, 'nobody');
  await lookUp(context, 'nobody');
  expect(asked).toEqual(['nobody', 'nobody']);
});

test('a stranger waits for as long as a lookup takes', async () => {
  const { context } = make(40);
  await lookUp(context, 'nobody');
  const begun = performance.now();
  await lookUp(context, 'nobody');
  // setTimeout may fire a millisecond early.
  expect(performance.now() - begun).toBeGreaterThanOrEqual(38);
});

test('a serial that was named while the database was asked is not remembered', async () => {
  const { context, asked, store } = make(0);
  const { find } = store;
  store.find = async (serial) => {
    const found = await find(serial);
    context.strangers.forget([serial]);
    return found;
  };
  await lookUp(context, 'nobody');
  await lookUp(context, 'nobody');
  expect(asked).toEqual(['nobody', 'nobody']);
});
