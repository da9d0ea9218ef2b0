/** Options that all `emulate` commands share, and the flash that they come to. */
import { randomInt } from 'node:crypto';
import { Option, type Command } from 'commander';
import { HMAC_SHA256, type SignedSuite } from '../protocol/suites';
import type { ClientOptions } from '../terminal/client';
import type { Where } from '../terminal/connection';
import { FileFlash, MemoryFlash, type Flash } from '../terminal/flash';
import type { LoginWishes } from '../terminal/requests';
import { newState, type DeviceState, type NewDevice } from '../terminal/state';
import { isBaseKeySize } from '../crypto/keyWrap';
import { isWmmpBaseKeySize } from '../crypto/wmmp';
import { SOFTWARE_SIZE } from '../terminal/wmmp/requests';
import { usage } from './errors';
import {
  baseKeyValue,
  firmwareValue,
  hardwareIdValue,
  imeiValue,
  imsiValue,
  packetValue,
  passwordValue,
  secondsValue,
  serialValue,
  suiteValue,
  whereValue,
} from './values';

export interface EmulateOptions {
  readonly connect: Where;
  readonly state?: string;
  readonly serial?: string;
  readonly imei?: string;
  readonly imsi?: string;
  readonly uplink?: Buffer;
  readonly downlink?: Buffer;
  readonly baseKey?: Buffer;
  readonly key?: true;
  readonly wmmp?: true;
  readonly suite?: SignedSuite;
  readonly mutual?: true;
  readonly hardwareId?: Buffer;
  readonly packet?: Buffer;
  readonly firmware?: string;
  readonly implicitTime?: true;
  readonly hex?: true;
  readonly json?: true;
  readonly logout?: true;
  readonly timeout?: number;
}

/** What WMMP 3.0 knows nothing of. */
const ONLY_VERSION_4 = [
  'suite',
  'mutual',
  'hardwareId',
  'packet',
  'implicitTime',
  'targets',
  'delivery',
  'smsText',
];

/** Seconds. */
const ANSWER_WITHIN = 10;

export function addEmulateOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--connect <host:port>', 'where the gateway listens')
        .argParser(whereValue)
        .default({ host: '127.0.0.1', port: 7750 }, '127.0.0.1:7750'),
    )
    .option('--state <file>', "the device's flash; made where it is not there; without it, memory")
    .option('--serial <text>', 'for a state that is new, as the five below', serialValue)
    .option('--imei <digits>', '15 digits', imeiValue)
    .option('--imsi <digits>', '6 to 15 digits', imsiValue)
    .option('--uplink <secret>', 'uplink password, as text or \\x…', passwordValue)
    .option('--downlink <secret>', 'downlink password', passwordValue)
    .option('--base-key <secret>', 'base key, 16 or 32 bytes, with --wmmp 24; may be left out', baseKeyValue)
    .option('--key', 'ask for a session key, and print it')
    .addOption(new Option('--wmmp', 'speak WMMP 3.0').conflicts(ONLY_VERSION_4))
    .option(
      '--suite <number>',
      '1: MD5, 2: HMAC-SHA-256 (default: that of the state; 2 for a new one)',
      suiteValue,
    )
    .option('--mutual', 'two-way login: makes sure of the platform first')
    .option('--hardware-id <id>', 'for --mutual, as text or \\x…; kept in the state', hardwareIdValue)
    .option('--packet <hex>', 'for --mutual: what m2m packet mint printed; kept in the state', packetValue)
    .option(
      '--firmware <text>',
      'tell the gateway a firmware version (with --wmmp up to 8 bytes)',
      firmwareValue,
    )
    .option('--implicit-time', 'send no timestamps: the clocks must agree')
    .option('--logout', 'end the session at the end')
    .option(
      '--timeout <seconds>',
      'for connecting and for every answer (default: 10; with --wmmp 15, then the frame is sent again, and 30 for a change to come)',
      secondsValue,
    )
    .option('--hex', 'show the bytes of every frame too')
    .option('--json', 'one JSON object a line');
}

export function clientOptions(options: EmulateOptions): ClientOptions {
  return {
    suite: options.suite,
    explicitTime: options.implicitTime !== true,
    timeout: (options.timeout ?? ANSWER_WITHIN) * 1000,
  };
}

export function loginWishes(options: Pick<EmulateOptions, 'key' | 'firmware' | 'mutual'>): LoginWishes {
  const mutual = options.mutual === true;
  return { sessionKey: options.key === true, identity: true, firmware: options.firmware, mutual };
}

/** @param needsKey whether a session key is asked for; default: as the options say */
export function openFlash(options: EmulateOptions, needsKey = options.key): Flash {
  const { state } = options;
  const sizes = options.wmmp ? WMMP_BASE_KEYS : BASE_KEYS;
  if (options.wmmp) checkSoftware(options);
  const flash =
    state !== undefined && FileFlash.exists(state) ? openFile(state, options) : makeFlash(options);
  if (needsKey) requireBaseKey(flash.read(), options.key ? '--key' : 'change --wmmp', sizes);
  if (options.mutual) prepareMutual(flash, options);
  return flash;
}

function prepareMutual(flash: Flash, { hardwareId, packet }: EmulateOptions): void {
  requireBaseKey(flash.read(), '--mutual', BASE_KEYS);
  const state = flash.update((held) => ({
    ...held,
    hardwareId: hardwareId ?? held.hardwareId,
    credentialPacket: packet ?? held.credentialPacket,
  }));
  if (state.hardwareId === undefined) throw usage('--mutual needs --hardware-id');
  if (state.credentialPacket === undefined) throw usage('--mutual needs --packet');
}

function checkSoftware({ firmware = '' }: EmulateOptions): void {
  if (firmware.length > SOFTWARE_SIZE)
    throw usage(`--firmware: with --wmmp it must have up to ${SOFTWARE_SIZE} characters`);
}

interface BaseKeys {
  readonly fit: (size: number) => boolean;
  readonly text: string;
}

const BASE_KEYS: BaseKeys = { fit: isBaseKeySize, text: '16 or 32' };
const WMMP_BASE_KEYS: BaseKeys = { fit: isWmmpBaseKeySize, text: '24' };

function requireBaseKey({ baseKey }: DeviceState, option: string, { fit, text }: BaseKeys): void {
  if (baseKey === undefined) throw usage(`${option} needs a base key: give --base-key`);
  if (!fit(baseKey.length)) throw usage(`${option} needs a base key of ${text} bytes, not ${baseKey.length}`);
}

const GIVEN = [
  ['serial', 'serial'],
  ['imei', 'imei'],
  ['imsi', 'imsi'],
  ['uplink', 'uplinkPassword'],
  ['downlink', 'downlinkPassword'],
  ['baseKey', 'baseKey'],
] as const;

/** Given besides a state: must name the same device. Secrets are the state's own: they change. */
function openFile(file: string, options: EmulateOptions): Flash {
  const flash = new FileFlash(file);
  const stored = flash.read();
  const other = GIVEN.filter(([option, field]) => {
    const given = options[option];
    return typeof given === 'string' && given !== stored[field];
  }).map(([option]) => optionName(option));
  if (other.length === 0) return flash;
  throw usage(
    `state file ${file} holds another value than ${other.join(', ')}: leave out, or use another file`,
  );
}

function optionName(option: string): string {
  return `--${option.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`;
}

function makeFlash(options: EmulateOptions): Flash {
  const state = newState(newDevice(options), randomInt(0x1_0000_0000));
  return options.state === undefined ? new MemoryFlash(state) : FileFlash.create(options.state, state);
}

function newDevice(options: EmulateOptions): NewDevice {
  const { serial, imei, imsi, uplink, downlink, baseKey, suite = HMAC_SHA256 } = options;
  if (!serial || !imei || !imsi || !uplink || !downlink) {
    const missing = GIVEN.filter(([option]) => option !== 'baseKey' && options[option] === undefined);
    const why =
      options.state === undefined ? 'without --state' : `${options.state} is not there: for a new state`;
    throw usage(`${why} these are needed: ${missing.map(([option]) => optionName(option)).join(' ')}`);
  }
  return { serial, imei, imsi, uplinkPassword: uplink, downlinkPassword: downlink, baseKey, suite };
}
