/** The connection that hears notifications, silently dead and not yet there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ChangeListener } from '../../../src/platform/store/changeListener';
import { connectionSettings } from '../../../src/platform/store/connections';
import { eventually } from '../../support/eventually';
import { Wire } from '../../support/wire';
import { openFixture, type Fixture } from './sqlFixture';

const TIMEOUT_MS = 3_000;
const CHANNEL = 'of_a_test';

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

function listen() {
  const told = { times: 0 };
  const database = { available: true, connection: () => connectionSettings(wire.through, TIMEOUT_MS) };
  const listener = new ChangeListener(database, CHANNEL, () => void told.times++);
  listener.start();
  const heard = (times: number) => eventually(`${times} times`, () => told.times >= times);
  return { told, listener, heard };
}

const notify = () => fixture.client.query(`NOTIFY ${CHANNEL}`);

test('it listens, and says so; then it passes on what comes', async () => {
  const { listener, heard } = listen();
  await heard(1);
  await notify();
  await heard(2);
  listener.stop();
});

test.each([
  ['is cut', () => wire.cut()],
  ['is silently dead', () => wire.forget()],
])('a connection that %s is made anew', async (_, happens) => {
  const { told, listener, heard } = listen();
  await heard(1);
  happens();
  await heard(2);
  await sleep(50);
  const before = told.times;
  await notify();
  await heard(before + 1);
  listener.stop();
});

test('when the server may be another one it is made anew at once', async () => {
  const { listener, heard } = listen();
  await heard(1);
  listener.renew();
  await heard(2);
  listener.stop();
});

test('stopped while it is being made, or silently dead: nothing is left of it', async () => {
  const first = listen();
  await first.heard(1);
  wire.silence();
  const second = listen();
  await eventually('a second connection', () => wire.size === 2);
  first.listener.stop();
  second.listener.stop();
  await sleep(1_500);
  wire.heal();
  await eventually('no connection', () => wire.size === 0);
});
