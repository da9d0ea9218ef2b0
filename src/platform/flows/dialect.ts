/** What the rules of a login leave to the dialect that it came in. */
import { wmmpEncrypt, newWmmpKey } from '../../crypto/wmmp';
import type { Decoded } from '../../protocol/decode';
import { isWmmp } from '../../protocol/header';
import { HMAC_SHA256, isSignedSuite, MD5, type SignedSuite } from '../../protocol/suites';
import type { Fields } from '../../protocol/tags';
import { encodeTlvs } from '../../protocol/wmmp/encode';
import { NEVER } from '../../protocol/wmmp/tags';
import type { LoginKind, Surroundings, TerminalRecord, WmmpSession } from '../model';
import { grantedKey, settleAtOnce, settleLater, type GrantedKey, type Proof } from './credentials';
import { replayEntry, unrememberedEntry } from './replay';
import { provenBaseKey, verifyDigest, type Authentic, type ProvenKey } from './verify';
import { LOGIN_TIMESTAMP, provenWmmpKey, verifyWmmp } from './wmmp/verify';

type Random = (size: number) => Buffer;

export interface Dialect {
  kind(message: Decoded): LoginKind;
  /** Of the answer. */
  suite(message: Decoded): SignedSuite;
  /** @param pending the pending uplink password, where it lets in */
  verify(
    message: Decoded,
    record: TerminalRecord,
    now: number,
    pending: Buffer | undefined,
  ): Authentic | undefined;
  /** @param pending the pending base key, where it may be shown */
  provenKey(
    message: Decoded,
    record: TerminalRecord,
    authentic: Authentic,
    pending: Buffer | undefined,
  ): ProvenKey | undefined;
  sessionKey(baseKey: Buffer, random: Random): GrantedKey;
  replayEntry(message: Decoded, authentic: Authentic, random: Random): string;
  /** @param proven bit mask of the pending secrets that the login was made under */
  prove(message: Decoded, record: TerminalRecord, proven: number): Proof;
  /** What the answer carries. */
  fields(granted: Granted): Fields;
  session(
    message: Decoded,
    around: Surroundings,
    key: GrantedKey | undefined,
    unsettled: number,
  ): WmmpSession | undefined;
}

export interface Granted {
  readonly around: Surroundings;
  /** 8 bytes. */
  readonly sessionId: Buffer;
  /** As it is once the login is committed. */
  readonly record: TerminalRecord;
  readonly key: GrantedKey | undefined;
}

const VERSION_4: Dialect = {
  kind: ({ command, header }) =>
    command === 'AUTH_PROOF' ? 'mutual' : header.suite === HMAC_SHA256 ? 'hmac' : 'md5',
  suite: ({ header }) => (isSignedSuite(header.suite) ? header.suite : MD5),
  verify: verifyDigest,
  provenKey: provenBaseKey,
  sessionKey: grantedKey,
  replayEntry: ({ digest }, { timestamp }) => replayEntry(timestamp, digest ?? Buffer.alloc(0)),
  prove: (_message, record, proven) => settleAtOnce(record, proven),
  fields: ({ around, sessionId, record, key }) => ({
    sessionId,
    sessionTtl: around.sessionTtl,
    heartbeatInterval: around.heartbeatInterval,
    ...(key && { sessionKey: key.forTerminal }),
    ...(record.changes.wished !== 0 && { changeTargets: record.changes.wished }),
  }),
  session: () => undefined,
};

const WMMP: Dialect = {
  kind: () => 'wmmp3',
  suite: () => MD5,
  verify: (message, record, _now, pending) => verifyWmmp(message, record, LOGIN_TIMESTAMP, pending),
  provenKey: (message, record, _authentic, pending) => provenWmmpKey(message, record, pending),
  sessionKey: (baseKey, random) => {
    const plain = newWmmpKey(random);
    const tlvs = { sessionKey: plain, sessionKeyExpiry: NEVER };
    return {
      plain,
      forTerminal: wmmpEncrypt(baseKey, encodeTlvs(['sessionKey', 'sessionKeyExpiry'], tlvs)),
    };
  },
  replayEntry: (_message, _authentic, random) => unrememberedEntry(random),
  prove: ({ isRepeat = false }, record, proven) => settleLater(record, proven, isRepeat),
  fields: ({ around, key }) => ({
    timestamp: Math.floor(around.now / 1000),
    ...(key && { sessionKey: key.forTerminal }),
  }),
  session: ({ header }, { now }, key, unsettled) => ({
    version: header.version,
    timestamp: Math.floor(now / 1000),
    sessionKey: key?.plain,
    unsettled,
    wish: 'open',
    asked: undefined,
    leaving: false,
  }),
};

export function dialectOf({ version }: { readonly version: number }): Dialect {
  return isWmmp(version) ? WMMP : VERSION_4;
}
