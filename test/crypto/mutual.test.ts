import { hardwareHash, openPacket, sealPacket } from '../../src/crypto/credentialPacket';
import { firstCode, fourthCode, thirdCode } from '../../src/crypto/mutual';
import * as oracle from '../support/mutualOracle';
import { paddedSerial, parse, TAG } from '../support/oracle';
import { bytesOf, terminalOf, VARIANTS, vector, type Vector } from '../support/vectors';

type MutualVector = Vector &
  Record<
    'clientNonce' | 'serverNonce' | 'firstCode' | 'packetKey' | 'packetKeyId' | 'packetNumber' | 'hardwareId',
    string
  > & {
    readonly issuedAt: number;
  };

const bytes = (text: string) => Buffer.from(text, 'hex');

describe.each(VARIANTS)('%s', (variant) => {
  const response = vector('AUTH_CHALLENGE response', variant) as MutualVector;
  const proof = vector('AUTH_PROOF with key asked', variant) as MutualVector;
  const terminal = terminalOf(proof);
  const serial = paddedSerial(terminal.serial);
  const { tlvs } = parse(bytesOf(proof));
  const packet = tlvs.get(TAG.CREDENTIAL_PACKET)!;
  const keys = new Map([[proof.packetKeyId, { id: proof.packetKeyId, key: bytes(proof.packetKey) }]]);

  test('first code, third code and back', () => {
    const context = {
      serial,
      clientNonce: bytes(response.clientNonce),
      serverNonce: bytes(response.serverNonce),
      timestamp: response.timestamp,
    };
    const first = firstCode(terminal.baseKey, context);
    expect(first.toString('hex')).toBe(response.firstCode);
    expect(thirdCode(terminal.baseKey, first)).toEqual(tlvs.get(TAG.THIRD_CODE));
    expect(fourthCode(terminal.baseKey, tlvs.get(TAG.THIRD_CODE)!)).toEqual(first);
    expect(oracle.firstCode(terminal.baseKey, { ...context, serial: terminal.serial })).toEqual(first);
    const other = Buffer.from(terminal.baseKey);
    other[0]! ^= 1;
    expect(fourthCode(other, tlvs.get(TAG.THIRD_CODE)!)).toBeUndefined();
  });

  test('the packet opens, and is minted again byte for byte', () => {
    const content = openPacket(keys, serial, packet)!;
    expect(content).toEqual({
      number: proof.packetNumber,
      issuedAt: proof.issuedAt,
      imei: terminal.imei,
      hardwareHash: hardwareHash(Buffer.from(proof.hardwareId)),
    });
    const [key] = [...keys.values()];
    expect(sealPacket(key!, serial, content, packet.subarray(5, 17))).toEqual(packet);
  });

  test('one bit altered anywhere, another serial, another key: it does not open', () => {
    for (let bit = 0; bit < packet.length * 8; bit++) {
      const altered = Buffer.from(packet);
      altered[bit >> 3]! ^= 1 << (bit & 7);
      expect(openPacket(keys, serial, altered)).toBeUndefined();
    }
    expect(openPacket(keys, paddedSerial('T100-117'), packet)).toBeUndefined();
    expect(openPacket(new Map(), serial, packet)).toBeUndefined();
    const id = proof.packetKeyId;
    expect(openPacket(new Map([[id, { id, key: Buffer.alloc(32) }]]), serial, packet)).toBeUndefined();
    for (const size of [0, 4, 33, packet.length - 1])
      expect(openPacket(keys, serial, packet.subarray(0, size))).toBeUndefined();
  });
});
