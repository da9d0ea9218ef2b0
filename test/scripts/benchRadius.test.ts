/** The RADIUS client of scripts/bench, by the example of RFC 2865, section 7.1. */
import { createRequire } from 'node:module';

const { accessRequest, hiddenPassword, isGenuine } = createRequire(__filename)(
  '../../scripts/bench/contestants/radiusLoad.js',
) as {
  readonly accessRequest: (
    identifier: number,
    user: string,
    password: Buffer,
    secret: Buffer,
  ) => { packet: Buffer; authenticator: Buffer };
  readonly hiddenPassword: (password: Buffer, secret: Buffer, authenticator: Buffer) => Buffer;
  readonly isGenuine: (answer: Buffer, authenticator: Buffer, secret: Buffer) => boolean;
};

const secret = Buffer.from('xyzzy5461');
const password = Buffer.from('arctangent');
const authenticator = Buffer.from('0f403f9473978057bd83d5cb98f4227a', 'hex');
const answer = Buffer.from(
  '0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103',
  'hex',
);

test('a password is hidden as the RFC shows', () => {
  expect(hiddenPassword(password, secret, authenticator).toString('hex')).toBe(
    '0dbe708d93d413ce3196e43f782a0aee',
  );
});

test('a longer one goes by blocks, each under the one before', () => {
  const long = Buffer.concat([password, Buffer.alloc(6), Buffer.from('more')]);
  const hidden = hiddenPassword(long, secret, authenticator);
  expect(hidden).toHaveLength(32);
  expect(hidden.toString('hex', 0, 16)).toBe('0dbe708d93d413ce3196e43f782a0aee');
  expect(hidden.subarray(16)).not.toEqual(hiddenPassword(Buffer.from('more'), secret, authenticator));
});

test('an answer is believed where its authenticator is right', () => {
  expect(isGenuine(answer, authenticator, secret)).toBe(true);
  expect(isGenuine(answer, authenticator, Buffer.from('other'))).toBe(false);
  const altered = Buffer.from(answer);
  altered[0] = 3;
  expect(isGenuine(altered, authenticator, secret)).toBe(false);
});

test('a request is as long as it says, with a new authenticator each time', () => {
  const [one, two] = [accessRequest(7, 'nemo', password, secret), accessRequest(7, 'nemo', password, secret)];
  expect([...one.packet.subarray(0, 2)]).toEqual([1, 7]);
  expect(one.packet.readUInt16BE(2)).toBe(one.packet.length);
  expect(one.packet.subarray(4, 20)).toEqual(one.authenticator);
  expect(one.packet.toString('latin1', 22, 26)).toBe('nemo');
  expect(one.authenticator).not.toEqual(two.authenticator);
});
