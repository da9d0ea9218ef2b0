/** SECURITY_CONFIG, the device's side: whether it is genuine, and the new secrets that it brings. */
import { wmmpDecrypt } from '../../crypto/wmmp';
import { faultText, isFault } from '../../protocol/faults';
import { decodeWmmp } from '../../protocol/wmmp/decode';
import { WMMP_TAGS, type WmmpTlvs } from '../../protocol/wmmp/tags';
import { refuse, type Refused } from '../answers';
import type { Frame } from '../connection';
import type { Aside } from '../state';
import { wrongDigest } from './answers';
import { readPlain } from './plain';
import type { WmmpSession } from './session';

/** One that is genuine. */
export type SecurityConfig =
  | { readonly kind: 'values'; readonly values: Aside }
  /** `tags`: what is wrong with it; none where it is the operation, or where it brings nothing. */
  | { readonly kind: 'bad'; readonly tags: readonly number[] };

/** Operation that sets values. [?] No other one is known. */
const SET = 0;

const VALUES = ['uplinkPassword', 'downlinkPassword', 'baseKey'] as const;
const EXPIRIES = {
  uplinkPassword: 'uplinkPasswordExpiry',
  downlinkPassword: 'downlinkPasswordExpiry',
  baseKey: 'baseKeyExpiry',
} as const;

/** @param session on the connection that the frame came on */
export function judgeConfig(
  session: WmmpSession | undefined,
  { header, bytes }: Frame,
): SecurityConfig | Refused {
  if (session === undefined) return refuse('no-session');
  const message = decodeWmmp(header, bytes, 'down');
  if (isFault(message)) return refuse('undecodable', faultText(message));
  const wrong = wrongDigest(message, session.device, session.timestamp);
  if (wrong !== undefined) return wrong;
  const { key } = session;
  const { bodyCiphertext } = message.tlvs;
  const plain = key && bodyCiphertext && wmmpDecrypt(key, bodyCiphertext);
  return plain === undefined ? { kind: 'bad', tags: [WMMP_TAGS.bodyCiphertext.tag] } : readConfig(plain);
}

function readConfig(plain: Buffer): SecurityConfig {
  if (plain[0] !== SET) return { kind: 'bad', tags: [] };
  const { values, bad } = readPlain(plain, 1, [...VALUES, ...VALUES.map((name) => EXPIRIES[name])]);
  const tags = [...bad, ...alone(values)];
  const { uplinkPassword, downlinkPassword, baseKey } = values;
  const isEmpty = VALUES.every((name) => values[name] === undefined);
  if (tags.length > 0 || isEmpty) return { kind: 'bad', tags };
  return { kind: 'values', values: { uplinkPassword, downlinkPassword, baseKey } };
}

/** Values without their expiry, and the reverse. [?] What an expiry says is not obeyed: no stack is known to. */
function alone(values: WmmpTlvs): number[] {
  return VALUES.flatMap((name) => {
    const expiry = EXPIRIES[name];
    if ((values[name] === undefined) === (values[expiry] === undefined)) return [];
    return [WMMP_TAGS[values[name] === undefined ? expiry : name].tag];
  });
}
