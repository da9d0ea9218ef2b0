/** Commands of WMMP 3.0: fixed fields first, then TLVs, last the digest (docs/wmmp.md, "Commands"). */
import { RESPONSE_BIT, SERIAL_SIZE } from '../header';
import { bytes, u32, u8, type ValueCodec } from '../values';
import type { WmmpTagName } from './tags';

const FIXED_FIELDS = {
  softwareVersion: bytes(8),
  /** CRC32 of the settings that the terminal has synchronised. */
  settingsCrc: bytes(4),
  result: u8(),
  /** Unix seconds; 0 in a refusal. */
  timestamp: u32(),
  reason: u8(),
  operation: u8(),
  /** 15 digits and 0x00. */
  imei: bytes(16),
  /** 15 bytes, padded with 0x00. */
  imsi: bytes(15),
  serial: bytes(SERIAL_SIZE),
} as const satisfies Record<string, ValueCodec<number> | ValueCodec<Buffer>>;

export type FixedName = keyof typeof FIXED_FIELDS;

/** Values of fixed fields by name. */
export type FixedFields = {
  -readonly [K in FixedName]?: (typeof FIXED_FIELDS)[K] extends ValueCodec<infer T> ? T : never;
};

export function fixedCodec(name: FixedName): ValueCodec<unknown> {
  return FIXED_FIELDS[name];
}

export interface WmmpBody {
  readonly fixed: readonly FixedName[];
  /** `unknown`: nobody says how it is laid out, but for a digest at its end. */
  readonly rest: readonly WmmpTagName[] | 'unknown';
  /** A frame without one where it is required is not authentic; one that is there must be right. */
  readonly digest: 'required' | 'permitted' | 'none';
}

interface WmmpCommandRow {
  readonly code: number;
  /** What the terminal sends, and what the gateway sends. */
  readonly up: WmmpBody;
  readonly down: WmmpBody;
  /** Who asks. */
  readonly direction: 'uplink' | 'downlink';
}

const body = (
  fixed: readonly FixedName[],
  digest: WmmpBody['digest'] = 'none',
  rest: WmmpBody['rest'] = [],
): WmmpBody => ({ fixed, rest, digest });

const uplink = (code: number, up: WmmpBody, down: WmmpBody) =>
  ({ code, up, down, direction: 'uplink' }) as const;

/** [?] Whether these must carry a digest is not known: one that is there must be right. */
const unserved = (code: number) => uplink(code, body([], 'permitted', 'unknown'), body(['result']));

export const WMMP_COMMANDS = {
  LOGIN: uplink(
    0x0001,
    body(['softwareVersion', 'settingsCrc'], 'required', ['baseKeyDigest']),
    body(['result', 'timestamp'], 'permitted', ['sessionKeyCiphertext']),
  ),
  LOGOUT: uplink(0x0002, body(['reason'], 'permitted'), body([])),
  HEARTBEAT: uplink(0x0003, body([], 'permitted'), body([])),
  COMMAND_0004: unserved(0x0004),
  COMMAND_0005: unserved(0x0005),
  COMMAND_0006: unserved(0x0006),
  CONFIG_TRAP: uplink(0x0007, body([], 'required'), body(['result'])),
  REGISTER: uplink(0x0008, body(['operation', 'imei', 'imsi'], 'permitted'), body(['result', 'serial'])),
  COMMAND_000A: unserved(0x000a),
  COMMAND_000B: unserved(0x000b),
  COMMAND_000C: unserved(0x000c),
  COMMAND_000D: unserved(0x000d),
  SECURITY_CONFIG: {
    code: 0x000e,
    up: body(['result'], 'required', 'unknown'),
    down: body([], 'required', ['bodyCiphertext']),
    direction: 'downlink',
  },
  COMMAND_000F: unserved(0x000f),
} as const satisfies Record<string, WmmpCommandRow>;

export type WmmpCommandName = keyof typeof WMMP_COMMANDS;

export const WMMP_COMMAND_NAMES = Object.keys(WMMP_COMMANDS) as WmmpCommandName[];

const BY_CODE = new Map<number, WmmpCommandName>(
  WMMP_COMMAND_NAMES.map((name) => [WMMP_COMMANDS[name].code, name]),
);

/** The command of a header's code, its response bit aside. */
export function wmmpCommandName(code: number): WmmpCommandName | undefined {
  return BY_CODE.get(code & ~RESPONSE_BIT);
}

export function wmmpCommandRow(name: WmmpCommandName): WmmpCommandRow {
  return WMMP_COMMANDS[name];
}

/** How a frame's body is laid out: `up` from a terminal, `down` from a gateway; undefined: it is not to be sent there. */
export function wmmpBody(code: number, way: 'up' | 'down'): WmmpBody | undefined {
  const name = wmmpCommandName(code);
  if (name === undefined) return undefined;
  const row = wmmpCommandRow(name);
  const isAnswer = (code & RESPONSE_BIT) !== 0;
  const asks = row.direction === 'uplink' ? 'up' : 'down';
  return (way === asks) === isAnswer ? undefined : row[way];
}

/** Results in bodies. */
export const WMMP_RESULTS = {
  ok: 0,
  /** [?] The command is not served. */
  notServed: 1,
  /** [?] LOGIN refused, whatever the reason; REGISTER failed; SECURITY_CONFIG: a bad TLV. */
  failed: 2,
} as const;

/** LOGOUT's reason that announces a login under new credentials on the same connection. */
export const ABOUT_TO_SWAP = 9;

/** Offset 10 of the header. What comes in is never judged by it: one stack leaves it 0 although the digest is there. */
export const SECURITY = {
  none: 0,
  digest: 0x20,
  login: 0xa0,
  loginForSessionKey: 0xe0,
  encrypted: 0xf0,
} as const;
