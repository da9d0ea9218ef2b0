/** The device's look at who claims to be the platform, before it shows anything of itself. */
import { firstCode } from '../../src/crypto/mutual';
import { commandRow, UNSIGNED_RESPONSE } from '../../src/protocol/commands';
import { encodeUnsigned } from '../../src/protocol/encode';
import { readHeader, RESPONSE_BIT, serialBytes, VERSION_4_0 } from '../../src/protocol/header';
import { RESULTS, type ResultName } from '../../src/protocol/results';
import { LONGEST_RETRY_MS } from '../../src/terminal/answers';
import { challengeRequest, judgeChallenge } from '../../src/terminal/mutual';
import { NO_SPARES, type DeviceState } from '../../src/terminal/state';
import { TERMINAL } from '../support/fakeGateway';

const device: DeviceState = { ...TERMINAL, suite: 2, nextSequence: 0, clockOffset: 0, spares: NO_SPARES };
const timestamp = 1_800_000_000;
const challenge = challengeRequest(
  device,
  { sequence: 9, time: timestamp, explicit: true },
  Buffer.alloc(16, 7),
);
const { serial, clientNonce } = challenge;
const serverNonce = Buffer.alloc(16, 8);
const { code } = commandRow('AUTH_CHALLENGE');

interface Twist {
  readonly command?: number;
  readonly sequence?: number;
  readonly version?: number;
  readonly serial?: Buffer;
  /** What the code is made of. */
  readonly key?: Buffer;
  readonly nonce?: Buffer;
}

function answer(twist: Twist = {}, suite = 0) {
  const context = { serial, clientNonce: twist.nonce ?? clientNonce, serverNonce, timestamp };
  const header = {
    ...{ command: code | RESPONSE_BIT, sequence: 9, version: VERSION_4_0, serial, result: 0 },
    ...twist,
  };
  const fields = { serverNonce, timestamp, firstCode: firstCode(twist.key ?? TERMINAL.baseKey, context) };
  const bytes = encodeUnsigned({ header, fields, shape: commandRow('AUTH_CHALLENGE').response! });
  bytes[10] = suite;
  return judge(bytes);
}

const judge = (bytes: Buffer) =>
  judgeChallenge(device, challenge, { header: readHeader(bytes), bytes, elapsed: 20, at: timestamp * 1000 });

test('who shows the base key, for this very nonce, is trusted', () => {
  expect(answer()).toMatchObject({ kind: 'trusted', serverNonce, timestamp });
});

test.each<[string, Twist]>([
  ['another base key', { key: Buffer.alloc(16, 1) }],
  ['the code of an earlier challenge', { nonce: Buffer.alloc(16, 6) }],
])('%s: this is not the platform', (_, twist) => {
  expect(answer(twist)).toMatchObject({ kind: 'refused', reason: 'false-platform' });
});

test.each<[string, Twist]>([
  ['command', { command: commandRow('LOGIN').code | RESPONSE_BIT }],
  ['sequence', { sequence: 8 }],
  ['version', { version: 0x0300 }],
  ['serial', { serial: serialBytes('ANOTHER') }],
])('another %s answers something else', (_, twist) => {
  expect(answer(twist)).toMatchObject({ kind: 'refused', reason: 'other-request' });
});

test('one that claims to be signed is odd', () => {
  expect(answer({}, 2)).toMatchObject({ kind: 'refused', reason: 'signature-odd' });
});

test('a no means later, and never longer than a quarter of an hour', () => {
  const no = (result: ResultName, retryAfter: number) => {
    const header = { command: code | RESPONSE_BIT, sequence: 9, version: VERSION_4_0, serial };
    return judge(
      encodeUnsigned({
        header: { ...header, result: RESULTS[result].code },
        fields: { retryAfter },
        shape: UNSIGNED_RESPONSE,
      }),
    );
  };
  expect(no('BUSY', 700)).toEqual({ kind: 'unsigned', result: 'BUSY', retryAfter: 700 });
  expect(no('THROTTLED', 0xffffffff)).toMatchObject({ retryAfter: LONGEST_RETRY_MS });
});
