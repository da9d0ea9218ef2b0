/** Commands of version 4.0 and the TLVs each takes (docs/protocol.md, "Commands"). */
import { RESPONSE_BIT } from './header';
import type { FieldName } from './tags';

type Marked = FieldName | `${FieldName}?`;

/** Which TLVs a body holds. */
export interface BodyShape {
  /** In the order in which this side writes them; a receiver takes any order. */
  readonly order: readonly FieldName[];
  readonly required: readonly FieldName[];
  readonly permitted: ReadonlySet<FieldName>;
  /** Those that may only come together. */
  readonly pairs: readonly (readonly [FieldName, FieldName])[];
}

/** `name?` may be absent. */
function shape(marked: readonly Marked[], ...pairs: (readonly [FieldName, FieldName])[]): BodyShape {
  const order = marked.map((mark) => mark.replace('?', '') as FieldName);
  const required = order.filter((name) => marked.includes(name));
  return { order, required, permitted: new Set(order), pairs };
}

export interface CommandRow {
  readonly code: number;
  readonly direction: 'uplink' | 'downlink';
  /** `by-session`: signed where a session stands on the connection. */
  readonly signed: 'yes' | 'no' | 'by-session';
  /** Served before the connection has logged in. */
  readonly opensSession: boolean;
  readonly request: BodyShape;
  /** The response with result OK or WAIT_FOR_SMS; none: the command is not answered. */
  readonly response: BodyShape | undefined;
}

const IDENTITY = ['imei', 'imsi'] as const;
const KEY_REQUEST = ['sessionKeyRequest', 'baseKeyDigest'] as const;

/** Signed responses that say no carry nothing but when and to what. */
export const REFUSAL_RESPONSE = shape(['timestamp', 'requestDigest']);
/** Unsigned responses: RETRY_AFTER with BUSY and THROTTLED. */
export const UNSIGNED_RESPONSE = shape(['retryAfter?']);

const LOGIN_RESPONSE = shape([
  'timestamp',
  'requestDigest',
  'sessionId',
  'sessionTtl',
  'heartbeatInterval',
  'sessionKey?',
  'changeTargets?',
]);

const uplink = (code: number, request: BodyShape, response: BodyShape): CommandRow => ({
  code,
  direction: 'uplink',
  signed: 'yes',
  opensSession: false,
  request,
  response,
});

export const COMMANDS = {
  LOGIN: {
    ...uplink(
      0x0001,
      shape(
        ['timestamp?', 'imei?', 'imsi?', 'firmware?', 'sessionKeyRequest?', 'baseKeyDigest?'],
        IDENTITY,
        KEY_REQUEST,
      ),
      LOGIN_RESPONSE,
    ),
    opensSession: true,
  },
  LOGOUT: uplink(0x0002, shape(['timestamp?']), REFUSAL_RESPONSE),
  HEARTBEAT: uplink(0x0003, shape(['timestamp?']), REFUSAL_RESPONSE),
  SESSION_KEY: uplink(
    0x0041,
    shape(['timestamp?', 'baseKeyDigest']),
    shape(['timestamp', 'requestDigest', 'sessionId', 'sessionKey']),
  ),
  CREDENTIAL_CHANGE: uplink(
    0x0042,
    shape(['timestamp?', 'changeTargets', 'changeDelivery?', 'baseKeyDigest?']),
    shape([
      'timestamp',
      'requestDigest',
      'changeId',
      'changeTargets',
      'newUplinkPassword?',
      'newDownlinkPassword?',
      'newBaseKey?',
    ]),
  ),
  CREDENTIAL_CONFIRM: uplink(
    0x0043,
    shape(['timestamp?', 'changeId', 'baseKeyDigest?']),
    shape(['timestamp', 'requestDigest', 'changeId']),
  ),
  CREDENTIAL_NOTICE: {
    code: 0x0044,
    direction: 'downlink',
    signed: 'yes',
    opensSession: false,
    request: shape(['timestamp', 'sessionId', 'changeTargets']),
    response: shape(['timestamp?', 'requestDigest']),
  },
  AUTH_CHALLENGE: {
    code: 0x0045,
    direction: 'uplink',
    signed: 'no',
    opensSession: true,
    request: shape(['clientNonce']),
    response: shape(['serverNonce', 'timestamp', 'firstCode']),
  },
  AUTH_PROOF: {
    ...uplink(
      0x0046,
      shape(
        [
          'timestamp',
          'imei',
          'imsi',
          'hardwareId',
          'serverNonce',
          'thirdCode',
          'credentialPacket',
          'firmware?',
          'sessionKeyRequest?',
          'baseKeyDigest?',
        ],
        KEY_REQUEST,
      ),
      LOGIN_RESPONSE,
    ),
    opensSession: true,
  },
  DISCONNECT: {
    code: 0x0047,
    direction: 'downlink',
    signed: 'by-session',
    opensSession: false,
    request: shape(
      ['timestamp?', 'sessionId?', 'disconnectReason', 'retryAfter?'],
      ['timestamp', 'sessionId'],
    ),
    response: undefined,
  },
} as const satisfies Record<string, CommandRow>;

export type CommandName = keyof typeof COMMANDS;

export const COMMAND_NAMES = Object.keys(COMMANDS) as CommandName[];

const BY_CODE = new Map<number, CommandName>(COMMAND_NAMES.map((name) => [COMMANDS[name].code, name]));

/** The command of a header's code, its response bit aside. */
export function commandName(code: number): CommandName | undefined {
  return BY_CODE.get(code & ~RESPONSE_BIT);
}

export function commandRow(name: CommandName): CommandRow {
  return COMMANDS[name];
}

/** What a connection is told when it is sent away. */
export const DISCONNECT_REASONS = {
  superseded: 1,
  suspended: 2,
  'identity-changed': 3,
  'shutting-down': 4,
  expired: 5,
  'protocol-error': 6,
} as const;

export type DisconnectReason = keyof typeof DISCONNECT_REASONS;

/** The name of a DISCONNECT_REASON, or undefined for a code that is none. */
export function disconnectReasonName(code: number): DisconnectReason | undefined {
  const names = Object.keys(DISCONNECT_REASONS) as DisconnectReason[];
  return names.find((name) => DISCONNECT_REASONS[name] === code);
}
