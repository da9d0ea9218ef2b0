/** What the rooms of the gateway hand to each other. Types only. */
import type { PacketKeys } from '../crypto/credentialPacket';
import type { SignedSuite } from '../protocol/suites';
import type { ResultName } from '../protocol/results';
import type { Fields } from '../protocol/tags';

/** Weakest first. */
export const LOGIN_KINDS = ['wmmp3', 'md5', 'hmac', 'mutual'] as const;
export type LoginKind = (typeof LOGIN_KINDS)[number];

export type TerminalStatus = 'active' | 'suspended' | 'retired';

/** `earlier`: a login under the current values has come since. */
export type Shown = 'never' | 'earlier' | 'latest';

/** New values that were given out next to the current ones (docs/credential-change.md). */
export interface PendingChange {
  /** CHANGE_ID, 1 to 4294967295. */
  readonly id: number;
  /** Bit mask: 1 uplink password, 2 downlink password, 4 base key. */
  readonly targets: number;
  /** Those of `targets` that a login has made current already. */
  readonly settled: number;
  /** Sent by SMS at least once: CREDENTIAL_CONFIRM alone settles it, and its values let nobody in. */
  readonly bySms: boolean;
  /** Whether a login of WMMP 3.0 was made under its values; whether the answer arrived is not known. */
  readonly shown: Shown;
  /** Milliseconds since the epoch at which a text was last written. */
  readonly textAt: number | undefined;
  /** 16 bytes, where it is a target; likewise the other two. */
  readonly uplinkPassword: Buffer | undefined;
  readonly downlinkPassword: Buffer | undefined;
  /** As long as the base key it replaces. */
  readonly baseKey: Buffer | undefined;
}

/** How changes of a terminal's secrets stand. */
export interface ChangeState {
  /** Bit mask of what the platform wishes to see changed; 0: nothing. */
  readonly wished: number;
  /** The highest CHANGE_ID given out. */
  readonly lastId: number;
  readonly pending: PendingChange | undefined;
  readonly confirmed: { readonly id: number; readonly targets: number } | undefined;
}

export const NO_CHANGES: ChangeState = { wished: 0, lastId: 0, pending: undefined, confirmed: undefined };

/** A terminal as the database had it at one moment, its secrets opened. */
export interface TerminalRecord {
  readonly id: number;
  readonly serial: string;
  readonly imei: string;
  readonly imsi: string;
  readonly status: TerminalStatus;
  readonly leastLogin: LoginKind;
  /** 1 to 64 bytes. */
  readonly uplinkPassword: Buffer;
  /** 1 to 64 bytes. */
  readonly downlinkPassword: Buffer;
  /** 16, 24 or 32 bytes. */
  readonly baseKey: Buffer | undefined;
  readonly changes: ChangeState;
  /** Where its texts go; digits, with or without a plus sign. */
  readonly msisdn: string | undefined;
  /** Unix seconds: credential packets issued until then are revoked; 0: none. */
  readonly packetsRevokedAt: number;
  /** Rises with every change; a commit that was decided on an older one does not happen. */
  readonly revision: number;
}

/** The session row's part that changes with every login, read together with the record. */
export interface SessionRow {
  /** 16 hexadecimal digits; undefined: no session stands. */
  readonly sessionId: string | undefined;
  readonly endReason: string | undefined;
  /** Replay memory, as entries of flows/replay.ts. */
  readonly logins: readonly string[];
  readonly requests: readonly string[];
}

/** A record read from the database just now, or one from the cache, which knows no session row. */
export interface TerminalView {
  readonly record: TerminalRecord;
  readonly row: SessionRow | undefined;
}

/** How a response to somebody is signed. */
export interface Signer {
  readonly suite: SignedSuite;
  readonly password: Buffer;
  readonly imei: string;
  readonly imsi: string;
}

/** What an AUTH_PROOF on the same connection must answer; good once. */
export interface Challenge {
  /** 16 bytes, padded. */
  readonly serial: Buffer;
  readonly serverNonce: Buffer;
  readonly firstCode: Buffer;
}

/** A CREDENTIAL_NOTICE that waits for its answer. */
export interface Notice {
  readonly sequence: number;
  readonly digest: Buffer;
}

/** What a session of WMMP 3.0 has besides. */
export interface WmmpSession {
  /** Of its LOGIN; frames of ours carry it too. */
  readonly version: number;
  /** Unix seconds: the LOGIN's answer had it, and every digest of the connection covers it. */
  readonly timestamp: number;
  /** 24 bytes; undefined: the login asked for none. */
  readonly sessionKey: Buffer | undefined;
  /** Bit mask of pending secrets that the login was made under: the next frame settles them. */
  unsettled: number;
  /** What became of the platform's wish on this connection. */
  wish: 'open' | 'sent' | 'waits';
  /** Sequence of the SECURITY_CONFIG that waits for its answer. */
  asked: number | undefined;
  /** Its LOGOUT came and got no answer: it may have been committed all the same, and will come again. */
  leaving: boolean;
}

/**
 * A session on this connection. `terminal` follows the database; `signer` stays what the login was answered with,
 * until the terminal itself has settled a new downlink password.
 */
export interface Session {
  /** 16 hexadecimal digits. */
  readonly id: string;
  readonly login: LoginKind;
  signer: Signer;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  terminal: TerminalRecord;
  /** Of the last request whose digest was good. */
  lastSequence: number;
  /** Bit mask of the platform's wish as the terminal was told of it, less what it has settled since. */
  told: number;
  notice?: Notice | undefined;
  /** Undefined in version 4.0. */
  readonly wmmp?: WmmpSession | undefined;
}

/** What is answered, before it is bytes. `detail` is for the operator only. */
export interface Answer {
  readonly result: ResultName;
  readonly fields?: Readonly<Fields>;
  /** Present where the result is a signed one. */
  readonly signer?: Signer;
  readonly detail?: string;
}

/** What a text by SMS needs besides its terminal. */
export interface Text {
  readonly msisdn: string;
  /** At most 160 characters of the GSM 7-bit alphabet. */
  readonly text: string;
}

/** How a terminal's secrets stand after a commit. */
export interface CredentialWrite {
  /** Bit mask of the secrets that `record` holds anew as current ones. */
  readonly settled: number;
  /** The record as it is once this is committed. */
  readonly record: TerminalRecord;
  readonly text: Text | undefined;
}

/** A login to commit. */
export interface LoginWrite {
  readonly terminalId: number;
  readonly serial: string;
  readonly revision: number;
  readonly sessionId: string;
  readonly login: LoginKind;
  readonly sessionKey: Buffer | undefined;
  readonly replayEntry: string;
  readonly address: string;
  readonly credentials?: CredentialWrite | undefined;
}

/** A request of a standing session to commit: a new key, its end, or new secrets of its terminal alone. */
export interface SessionWrite {
  readonly kind: 'session-key' | 'logout' | 'credentials';
  readonly terminalId: number;
  readonly serial: string;
  readonly revision: number;
  readonly sessionId: string;
  readonly sessionKey: Buffer | undefined;
  readonly replayEntry: string;
  readonly credentials?: CredentialWrite | undefined;
}

/** What deciders know besides the message and the record. */
export interface Surroundings {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Seconds within which explicit timestamps are taken, either way. */
  readonly timestampWindow: number;
  /** Seconds. */
  readonly sessionTtl: number;
  /** Seconds. */
  readonly heartbeatInterval: number;
  /** Whether texts may carry new secrets unmasked where a terminal asks for it. */
  readonly plainTexts: boolean;
  /** Packet keys of two-way login. */
  readonly packetKeys: () => PacketKeys;
  /** `size` unpredictable bytes. */
  readonly random: (size: number) => Buffer;
  /** The id of a new session of that terminal: 8 bytes (crypto/sessionId.ts). */
  readonly sessionId: (terminalId: number) => Buffer;
}
