/** Which bytes are a packet: none of another size or version, even where whoever holds the key has made them. */
import { createCipheriv } from 'node:crypto';
import { openPacket, PACKET_SIZE } from '../../src/crypto/credentialPacket';
import { keyRing, seal, sealedUnder } from '../../src/crypto/sealing';

const KEY = { id: '45a2f6b2', key: Buffer.alloc(32, 3) };
const keys = new Map([[KEY.id, KEY]]);
const serial = Buffer.from('T-1'.padEnd(16, '\0'));
const imei = Buffer.from('868123000000019');
const PLAIN = [
  Buffer.alloc(8, 1),
  Buffer.alloc(4, 2),
  Buffer.from('e00e000f', 'hex'),
  imei,
  Buffer.alloc(32, 4),
];

function sealed(version: number, ...plain: Buffer[]): Buffer {
  const head = Buffer.concat([Buffer.of(version), Buffer.from(KEY.id, 'hex')]);
  const nonce = Buffer.alloc(12, 9);
  const cipher = createCipheriv('aes-256-gcm', KEY.key, nonce).setAAD(Buffer.concat([head, serial]));
  return Buffer.concat([
    head,
    nonce,
    ...plain.map((part) => cipher.update(part)),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

const good = sealed(1, ...PLAIN);
const open = (packet: Buffer) => openPacket(keys, serial, packet);

test('one as it should be', () => {
  expect(good).toHaveLength(PACKET_SIZE);
  const rest = { issuedAt: 0x02020202, imei: imei.toString(), hardwareHash: Buffer.alloc(32, 4) };
  expect(open(good)).toEqual({ number: '0101010101010101', ...rest });
});

test('cut anywhere, or longer, it is none, and nothing is thrown', () => {
  for (let size = 0; size < good.length; size++) expect(open(good.subarray(0, size))).toBeUndefined();
  expect(open(Buffer.concat([good, Buffer.of(0)]))).toBeUndefined();
});

test.each([
  ['another version', sealed(2, ...PLAIN)],
  ['version 0', sealed(0, ...PLAIN)],
  ['a byte more in it', sealed(1, ...PLAIN, Buffer.of(0))],
  ['a byte less in it', sealed(1, ...PLAIN.slice(0, 4), Buffer.alloc(31))],
  ['another TLV in it', sealed(1, ...PLAIN.slice(0, 2), Buffer.from('e012000f', 'hex'), ...PLAIN.slice(3))],
])('sealed under the right key, with %s: none', (_name, packet) => {
  expect(open(packet)).toBeUndefined();
});

test('a stored secret tells the key that it is sealed under; a plain one none', () => {
  const key = { id: '0000a5ff', key: Buffer.alloc(32, 7) };
  expect(sealedUnder(seal(keyRing([key]), 'base_key', 'T-1', imei))).toBe('0000a5ff');
  expect(sealedUnder(Buffer.concat([Buffer.of(0), imei]))).toBeUndefined();
});
