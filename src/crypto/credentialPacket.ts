/**
 * Credential packets of two-way login: minted by the platform, carried by the terminal, opaque to it.
 *
 *     0x01 | key id (4) | nonce (12) | ciphertext | tag (16)      AES-256-GCM, associated data = first 5 bytes | serial (16)
 *     plain: packet number (8) | issued at (4) | IMEI as TLV | SHA-256 of HARDWARE_ID (32)
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { digestOf } from './hmac';
import type { SealingKey } from './sealing';

const VERSION = 0x01;
const HEAD_SIZE = 5;
const NONCE_SIZE = 12;
const TAG_SIZE = 16;
const NUMBER_SIZE = 8;
const IMEI_TLV = Buffer.from([0xe0, 0x0e, 0x00, 0x0f]);
const IMEI_SIZE = 15;
const HASH_SIZE = 32;
const PLAIN_SIZE = NUMBER_SIZE + 4 + IMEI_TLV.length + IMEI_SIZE + HASH_SIZE;
export const PACKET_SIZE = HEAD_SIZE + NONCE_SIZE + PLAIN_SIZE + TAG_SIZE;

export interface PacketContent {
  /** 16 hexadecimal digits. */
  readonly number: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** 15 digits. */
  readonly imei: string;
  /** SHA-256, 32 bytes. */
  readonly hardwareHash: Buffer;
}

/** Packet keys by id, 8 hexadecimal digits. */
export type PacketKeys = ReadonlyMap<string, SealingKey>;

export function hardwareHash(hardwareId: Buffer): Buffer {
  return digestOf('sha256', hardwareId);
}

/**
 * @param serial 16 bytes, padded
 * @param nonce 12 bytes, never used before under this key
 */
export function sealPacket(key: SealingKey, serial: Buffer, content: PacketContent, nonce: Buffer): Buffer {
  const head = Buffer.concat([Buffer.of(VERSION), Buffer.from(key.id, 'hex')]);
  const issued = Buffer.allocUnsafe(4);
  issued.writeUInt32BE(content.issuedAt);
  const number = Buffer.from(content.number, 'hex');
  const imei = Buffer.from(content.imei, 'latin1');
  const plain = Buffer.concat([number, issued, IMEI_TLV, imei, content.hardwareHash]);
  const cipher = createCipheriv('aes-256-gcm', key.key, nonce).setAAD(Buffer.concat([head, serial]));
  const body = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([head, nonce, body, cipher.getAuthTag()]);
}

/** What a packet holds; undefined where it was not minted here for this serial, or was altered. */
export function openPacket(keys: PacketKeys, serial: Buffer, packet: Buffer): PacketContent | undefined {
  const key = keys.get(packet.toString('hex', 1, HEAD_SIZE));
  if (packet.length !== PACKET_SIZE || packet[0] !== VERSION || key === undefined) return undefined;
  const plain = decrypted(key, serial, packet);
  return plain?.subarray(12, 16).equals(IMEI_TLV) ? readPlain(plain) : undefined;
}

function decrypted({ key }: SealingKey, serial: Buffer, packet: Buffer): Buffer | undefined {
  const nonce = packet.subarray(HEAD_SIZE, HEAD_SIZE + NONCE_SIZE);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_SIZE });
  decipher.setAAD(Buffer.concat([packet.subarray(0, HEAD_SIZE), serial]));
  decipher.setAuthTag(packet.subarray(packet.length - TAG_SIZE));
  try {
    const body = packet.subarray(HEAD_SIZE + NONCE_SIZE, packet.length - TAG_SIZE);
    return Buffer.concat([decipher.update(body), decipher.final()]);
  } catch {
    return undefined;
  }
}

function readPlain(plain: Buffer): PacketContent {
  const imeiAt = NUMBER_SIZE + 4 + IMEI_TLV.length;
  return {
    number: plain.toString('hex', 0, NUMBER_SIZE),
    issuedAt: plain.readUInt32BE(NUMBER_SIZE),
    imei: plain.toString('latin1', imeiAt, imeiAt + IMEI_SIZE),
    hardwareHash: plain.subarray(imeiAt + IMEI_SIZE),
  };
}
