/** Rebinding a terminal: the session of whoever had the former module or SIM does not outlive it. */
import { call, imeiOf, logIn, openFixture, provision, sessionOf, type Fixture } from './sqlFixture';

let fixture: Fixture;

beforeAll(async () => {
  fixture = await openFixture();
});

afterAll(() => fixture.close());

test.each([
  ['imei', imeiOf(810_001)],
  ['imsi', '460810001'],
])('another %s alone ends the session', async (name, value) => {
  const { client } = fixture;
  const { serial, imei, imsi } = await provision(client);
  await logIn(client, serial);
  expect(await call(client, 'rebind_terminal', { serial, imei, imsi, [name]: value })).toBe('rebound');
  expect(await sessionOf(client, serial)).toMatchObject({
    ...{ session_id: null, session_key: null, end_reason: 'identity-changed' },
  });
});
