/** What the parts of the store do together when the database comes back. */
import { KeyKeeper } from '../../../src/platform/keys/keyKeeper';
import type { TerminalRecord } from '../../../src/platform/model';
import type { LogAction, LogFacts } from '../../../src/platform/ops/log';
import { openStore } from '../../../src/platform/store/store';
import { eventually } from '../../support/eventually';
import { Wire } from '../../support/wire';
import { openFixture, type Fixture } from './sqlFixture';

const PATIENCE_S = 120;
const KEY = { id: '00112233', key: Buffer.alloc(32, 7) };

let fixture: Fixture;
let wire: Wire;

beforeAll(async () => {
  fixture = await openFixture();
  wire = await Wire.to(fixture.url);
});

afterAll(async () => {
  await wire.close();
  await fixture.close();
});

async function started() {
  const lines: [LogAction, LogFacts][] = [];
  const store = await openStore({
    url: wire.through,
    timeout: PATIENCE_S * 1000,
    keys: new KeyKeeper({ sealing: [KEY], packet: [KEY] }),
    duties: { terminals: false, office: false },
    poolSize: 2,
    gateway: 'test',
    sessionTtl: 60,
    cutoff: () => '00000000-0000-0000-0000-000000000000',
    log: { event: (action, facts) => void lines.push([action, facts]) },
    search: function* () {
      yield;
      return undefined;
    },
    onChanges: () => undefined,
    onBack: () => Promise.resolve(),
  });
  await store.start('127.0.0.1:0');
  const told = (action: LogAction, what: RegExp) =>
    lines.filter(([name, { error = '' }]) => name === action && what.test(error)).length;
  return { store, told };
}

test('what changed meanwhile is found out, however often that fails', async () => {
  const { store, told } = await started();
  store.cache.set({ serial: 'T-1' } as TerminalRecord);
  const isRemembered = () => store.cache.get('T-1') !== undefined;
  try {
    await fixture.client.query('ALTER TABLE m2m.change RENAME COLUMN txid TO gone');
    wire.refuse();
    wire.cut();
    await eventually('a database that is lost', () => told('database-lost', /./) > 0);
    wire.heal();
    await eventually(
      'a feed that cannot be read',
      () => told('internal-error', /column .* does not exist/) > 2,
    );
    expect(isRemembered()).toBe(true);
    await fixture.client.query('ALTER TABLE m2m.change RENAME COLUMN gone TO txid');
    await eventually('a store that has caught up', () => !isRemembered());
  } finally {
    await store.close();
  }
});
