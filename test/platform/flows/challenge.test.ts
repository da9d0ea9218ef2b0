/** What an AUTH_CHALLENGE is answered with, and what is remembered of it. */
import { decideChallenge } from '../../../src/platform/flows/challenge';
import { decode } from '../../../src/protocol/decode';
import { isFault } from '../../../src/protocol/faults';
import { readHeader } from '../../../src/protocol/header';
import { firstCode } from '../../support/mutualOracle';
import { newTerminal } from '../../support/operator';
import { authChallenge, paddedSerial } from '../../support/oracle';
import { AROUND, recordOf } from '../../support/rooms';

const NOW = AROUND.now + 999;
const timestamp = AROUND.now / 1000;
const clientNonce = Buffer.alloc(16, 8);
const serverNonce = AROUND.random(16);
const decoyKey = Buffer.alloc(16, 1);

function decided(record: Parameters<typeof decideChallenge>[1], serial: string) {
  const bytes = authChallenge(clientNonce)({ ...newTerminal(), serial });
  const message = decode(readHeader(bytes), bytes);
  if (isFault(message)) throw new Error(message.name);
  return decideChallenge(message, record, { ...AROUND, now: NOW }, decoyKey);
}

test.each([16, 32])('under a base key of %d bytes: its code, which is remembered', (size) => {
  const terminal = newTerminal(size);
  const { serial, baseKey } = terminal;
  const code = firstCode(baseKey, { serial, clientNonce, serverNonce, timestamp });
  expect(decided(recordOf(terminal), serial)).toEqual({
    answer: { result: 'OK', fields: { serverNonce, timestamp, firstCode: code } },
    challenge: { serial: paddedSerial(serial), serverNonce, firstCode: code },
  });
});

test.each([
  ['unknown-serial', undefined],
  ['no-base-key', recordOf(newTerminal(), { baseKey: undefined })],
  ['no-base-key', recordOf(newTerminal(24))],
])('%s: a code of the decoy, which nothing can meet', (detail, record) => {
  const code = firstCode(decoyKey, { serial: 'T-1', clientNonce, serverNonce, timestamp });
  expect(decided(record, 'T-1')).toEqual({
    answer: { result: 'OK', fields: { serverNonce, timestamp, firstCode: code }, detail },
    challenge: undefined,
  });
});
