/** Two-way login by the protocol's page alone: codes and packets with nothing from src/. */
import { createCipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { authProof, paddedSerial, TAG, u16, u32, wrap, type Parsed, type Terminal } from './oracle';

const hmac = (key: Buffer, ...parts: (Buffer | string)[]): Buffer => {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
};

export interface CodeParts {
  readonly serial: string;
  readonly clientNonce: Buffer;
  readonly serverNonce: Buffer;
  readonly timestamp: number;
}

export function firstCode(
  baseKey: Buffer,
  { serial, clientNonce, serverNonce, timestamp }: CodeParts,
): Buffer {
  const mac = hmac(baseKey, 'm2m/1 mutual mac');
  return hmac(mac, 'first', paddedSerial(serial), clientNonce, serverNonce, u32(timestamp));
}

export function thirdCode(baseKey: Buffer, first: Buffer): Buffer {
  return wrap(hmac(baseKey, 'm2m/1 mutual enc').subarray(0, baseKey.length), first);
}

export interface PacketParts {
  readonly serial: string;
  readonly imei: string;
  readonly hardwareId: Buffer;
  readonly number?: Buffer;
  /** Unix seconds. */
  readonly issuedAt: number;
  readonly nonce?: Buffer;
}

export function mintPacket(key: Buffer, keyId: string, parts: PacketParts): Buffer {
  const { serial, imei, hardwareId, number = randomBytes(8), issuedAt, nonce = randomBytes(12) } = parts;
  const head = Buffer.from(`01${keyId}`, 'hex');
  const imeiTlv = Buffer.concat([u16(TAG.IMEI), u16(15), Buffer.from(imei)]);
  const plain = Buffer.concat([
    number,
    u32(issuedAt),
    imeiTlv,
    createHash('sha256').update(hardwareId).digest(),
  ]);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(
    Buffer.concat([head, paddedSerial(serial)]),
  );
  return Buffer.concat([head, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** The newest packet key of a key file. */
export function packetKeyOf(keyFile: string): { key: Buffer; id: string } {
  const { packet } = JSON.parse(readFileSync(keyFile, 'utf8')) as { packet: { id: string; key: string }[] };
  const { id, key } = packet.at(-1)!;
  return { id, key: Buffer.from(key, 'hex') };
}

export interface ProofParts {
  readonly hardwareId: Buffer;
  readonly packet: Buffer;
  readonly serverNonce: Buffer;
  readonly third: Buffer;
}

export const proof = ({ hardwareId, packet, serverNonce, third }: ProofParts) =>
  authProof([
    [TAG.HARDWARE_ID, hardwareId],
    [TAG.SERVER_NONCE, serverNonce],
    [TAG.THIRD_CODE, third],
    [TAG.CREDENTIAL_PACKET, packet],
  ]);

/** What a challenge was answered with; `genuine` where the code was made under the terminal's base key. */
export function readChallenge(terminal: Terminal, clientNonce: Buffer, answer: Parsed) {
  const serverNonce = answer.tlvs.get(TAG.SERVER_NONCE)!;
  const timestamp = answer.tlvs.get(TAG.TIMESTAMP)!.readUInt32BE(0);
  const shown = answer.tlvs.get(TAG.FIRST_CODE)!;
  const parts = { serial: terminal.serial, clientNonce, serverNonce, timestamp };
  return { serverNonce, timestamp, shown, genuine: firstCode(terminal.baseKey, parts).equals(shown) };
}
