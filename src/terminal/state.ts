/**
 * What a device keeps over a restart: who it is, its secrets, its next sequence and what it knows of the time.
 *
 * A session is not kept. Its key would lie in plain next to what already opens new ones, and a device that
 * restarts logs in again anyway.
 *
 * Stored as one JSON object; bytes are lower-case hexadecimal:
 *
 *     { format, serial, imei, imsi, uplink_password, downlink_password, base_key?, suite, next_sequence, clock_offset,
 *       hardware_id?, credential_packet?, change?, waiting?, spares?, aside? }
 *
 * `format` rises when a field changes its meaning; a new field that may be absent needs no new format.
 */
import { z } from 'zod';
import { serialBytes } from '../protocol/header';
import { HMAC_SHA256, MD5, type SignedSuite } from '../protocol/suites';
import type { TagRow } from '../protocol/tags';
import { WMMP_TAGS } from '../protocol/wmmp/tags';

/** New values that the platform has given out, until it is certain that they are the current ones there. */
export interface DeviceChange {
  /** CHANGE_ID. */
  readonly id: number;
  /** Bit mask. */
  readonly targets: number;
  readonly bySms: boolean;
  /** A CREDENTIAL_CONFIRM has left, so that they may be current on the platform. */
  readonly confirming: boolean;
  readonly uplinkPassword?: Buffer | undefined;
  readonly downlinkPassword?: Buffer | undefined;
  readonly baseKey?: Buffer | undefined;
}

/** New values of WMMP 3.0, kept aside until a login under them has been answered well. */
export interface Aside {
  readonly uplinkPassword?: Buffer | undefined;
  readonly downlinkPassword?: Buffer | undefined;
  readonly baseKey?: Buffer | undefined;
}

/** A text that was announced. */
export interface AwaitedText {
  readonly id: number;
  readonly targets: number;
  /** Of the request that it answers. */
  readonly suite: SignedSuite;
}

/** Values of changes that were left undecided: one of them may be what the platform holds. */
export interface Spares {
  readonly uplinkPasswords: readonly Buffer[];
  readonly downlinkPasswords: readonly Buffer[];
  readonly baseKeys: readonly Buffer[];
}

export const NO_SPARES: Spares = { uplinkPasswords: [], downlinkPasswords: [], baseKeys: [] };

export interface DeviceState {
  readonly serial: string;
  /** 15 digits. */
  readonly imei: string;
  /** 6 to 15 digits. */
  readonly imsi: string;
  /** 1 to 64 bytes. */
  readonly uplinkPassword: Buffer;
  /** 1 to 64 bytes. */
  readonly downlinkPassword: Buffer;
  /** 16 or 32 bytes; 24 in WMMP 3.0. */
  readonly baseKey: Buffer | undefined;
  readonly suite: SignedSuite;
  /** Of the next request, 32 bits. Stored before it is used, so that no frame is ever sent twice. */
  readonly nextSequence: number;
  /** Seconds to add to the machine's clock: what signed answers told. */
  readonly clockOffset: number;
  /** What is unique in the device: 1 to 64 bytes. */
  readonly hardwareId?: Buffer | undefined;
  /** For two-way login, opaque: 33 to 1024 bytes. */
  readonly credentialPacket?: Buffer | undefined;
  readonly change?: DeviceChange | undefined;
  readonly waiting?: AwaitedText | undefined;
  readonly spares: Spares;
  readonly aside?: Aside | undefined;
}

/** A state that cannot be used. The message names the field and never shows what a secret holds. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

const FORMAT = 1;

const hex = (sizes: (size: number) => boolean, what: string) =>
  z
    .string(`must be ${what} in hexadecimal`)
    .regex(/^([0-9a-f]{2})*$/i, `must be ${what} in hexadecimal`)
    .transform((text) => Buffer.from(text, 'hex'))
    .refine((bytes) => sizes(bytes.length), `must be ${what} in hexadecimal`);

const password = hex((size) => size >= 1 && size <= 64, '1 to 64 bytes');
const baseKey = hex((size) => size === 16 || size === 24 || size === 32, '16, 24 or 32 bytes');

const suite = z.union([z.literal(MD5), z.literal(HMAC_SHA256)], 'must be 1 or 2');
const changeId = z.int('must be a whole number').min(1).max(0xffffffff);
const targets = z.int('must be a bit mask of 1 to 7').min(1).max(7);
const newPassword = hex((size) => size === 16, '16 bytes');

const storedChange = z.strictObject({
  id: changeId,
  targets,
  by_sms: z.boolean(),
  confirming: z.boolean(),
  uplink_password: newPassword.optional(),
  downlink_password: newPassword.optional(),
  base_key: baseKey.optional(),
});

const asInFrames = ({ codec: { max } }: TagRow<Buffer>) => hex((size) => size === max, `${max} bytes`);

const storedAside = z.strictObject({
  uplink_password: asInFrames(WMMP_TAGS.uplinkPassword).optional(),
  downlink_password: asInFrames(WMMP_TAGS.downlinkPassword).optional(),
  base_key: asInFrames(WMMP_TAGS.baseKey).optional(),
});

const storedSpares = z.strictObject({
  uplink_passwords: z.array(password),
  downlink_passwords: z.array(password),
  base_keys: z.array(baseKey),
});

const stored = z.strictObject({
  format: z.literal(FORMAT, `must be ${FORMAT}`),
  serial: z.string().refine(isSerial, 'must be 1 to 16 of A-Z a-z 0-9 . _ -'),
  imei: z.string().regex(/^[0-9]{15}$/, 'must be 15 digits'),
  imsi: z.string().regex(/^[0-9]{6,15}$/, 'must be 6 to 15 digits'),
  uplink_password: password,
  downlink_password: password,
  base_key: baseKey.optional(),
  suite,
  next_sequence: z.int('must be a whole number').min(0).max(0xffffffff),
  clock_offset: z.int('must be a whole number of seconds'),
  hardware_id: password.optional(),
  credential_packet: hex((size) => size >= 33 && size <= 1024, '33 to 1024 bytes').optional(),
  change: storedChange.optional(),
  waiting: z.strictObject({ id: changeId, targets, suite }).optional(),
  spares: storedSpares.optional(),
  aside: storedAside.optional(),
});

function isSerial(text: string): boolean {
  try {
    serialBytes(text);
    return true;
  } catch {
    return false;
  }
}

/** @param text what `stateText` wrote. Throws a StateError that names the first field that is wrong. */
export function parseState(text: string): DeviceState {
  return checkedState(parseJson(text));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new StateError('is not JSON: empty, cut short or altered');
  }
}

function checkedState(value: unknown): DeviceState {
  const parsed = stored.safeParse(value);
  if (!parsed.success) throw new StateError(firstIssue(parsed.error));
  const read = parsed.data;
  return {
    serial: read.serial,
    imei: read.imei,
    imsi: read.imsi,
    uplinkPassword: read.uplink_password,
    downlinkPassword: read.downlink_password,
    baseKey: read.base_key,
    suite: read.suite,
    nextSequence: read.next_sequence,
    clockOffset: read.clock_offset,
    hardwareId: read.hardware_id,
    credentialPacket: read.credential_packet,
    change: read.change && {
      id: read.change.id,
      targets: read.change.targets,
      bySms: read.change.by_sms,
      confirming: read.change.confirming,
      uplinkPassword: read.change.uplink_password,
      downlinkPassword: read.change.downlink_password,
      baseKey: read.change.base_key,
    },
    waiting: read.waiting,
    spares: read.spares
      ? {
          uplinkPasswords: read.spares.uplink_passwords,
          downlinkPasswords: read.spares.downlink_passwords,
          baseKeys: read.spares.base_keys,
        }
      : NO_SPARES,
    aside: read.aside && {
      uplinkPassword: read.aside.uplink_password,
      downlinkPassword: read.aside.downlink_password,
      baseKey: read.aside.base_key,
    },
  };
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'is not a device state';
  const field = issue.path.join('.');
  return field === '' ? issue.message : `field ${field}: ${issue.message}`;
}

export function stateText(state: DeviceState): string {
  return `${JSON.stringify(storedForm(state), undefined, 2)}\n`;
}

function storedForm(state: DeviceState): z.input<typeof stored> {
  return {
    format: FORMAT,
    serial: state.serial,
    imei: state.imei,
    imsi: state.imsi,
    uplink_password: state.uplinkPassword.toString('hex'),
    downlink_password: state.downlinkPassword.toString('hex'),
    ...(state.baseKey && { base_key: state.baseKey.toString('hex') }),
    suite: state.suite,
    next_sequence: state.nextSequence,
    clock_offset: state.clockOffset,
    ...(state.hardwareId && { hardware_id: asHex(state.hardwareId) }),
    ...(state.credentialPacket && { credential_packet: asHex(state.credentialPacket) }),
    ...(state.change && { change: storedFormOfChange(state.change) }),
    ...(state.waiting && { waiting: state.waiting }),
    ...(hasSpares(state.spares) && {
      spares: {
        uplink_passwords: state.spares.uplinkPasswords.map(asHex),
        downlink_passwords: state.spares.downlinkPasswords.map(asHex),
        base_keys: state.spares.baseKeys.map(asHex),
      },
    }),
    ...(state.aside && { aside: storedFormOfValues(state.aside) }),
  };
}

function storedFormOfChange(change: DeviceChange): z.input<typeof storedChange> {
  const { id, targets, bySms, confirming } = change;
  return { id, targets, by_sms: bySms, confirming, ...storedFormOfValues(change) };
}

function storedFormOfValues({ uplinkPassword, downlinkPassword, baseKey }: Aside) {
  return {
    ...(uplinkPassword && { uplink_password: asHex(uplinkPassword) }),
    ...(downlinkPassword && { downlink_password: asHex(downlinkPassword) }),
    ...(baseKey && { base_key: asHex(baseKey) }),
  };
}

export function hasSpares({ uplinkPasswords, downlinkPasswords, baseKeys }: Spares): boolean {
  return uplinkPasswords.length + downlinkPasswords.length + baseKeys.length > 0;
}

function asHex(bytes: Buffer): string {
  return bytes.toString('hex');
}

/** What a person gives a device that is new. */
export type NewDevice = Omit<
  DeviceState,
  'nextSequence' | 'clockOffset' | 'change' | 'waiting' | 'spares' | 'aside'
>;

/**
 * A state for a device that is new, checked like a stored one.
 *
 * @param firstSequence random: a device whose flash was lost must not send what it sent before
 */
export function newState(device: NewDevice, firstSequence: number): DeviceState {
  return checkedState(
    storedForm({ ...device, nextSequence: firstSequence >>> 0, clockOffset: 0, spares: NO_SPARES }),
  );
}
