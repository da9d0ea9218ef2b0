/** Whether the digests of a WMMP 3.0 frame are right (docs/wmmp.md, "Digest"), for who holds the terminal's secrets. */
import { equalInConstantTime } from '../../crypto/constantTime';
import { wmmpBaseKeyDigest, wmmpDigest } from '../../crypto/wmmp';
import type { WmmpMessage } from '../../protocol/wmmp/decode';
import type { Direction } from '../frameTable';
import { passwordOf, unchecked, type Known, type Verdict } from '../verify';
import { isTakenAsOk } from './answers';
import { LOGIN_TIMESTAMP } from './requests';

/** @param loggedInAt Unix seconds, as the LOGIN's answer before it on the connection had them */
export function verifyWmmp(
  message: WmmpMessage,
  direction: Direction,
  known: Known,
  loggedInAt: number | undefined,
): Verdict {
  const { digest, covered, fields } = message;
  if (digest === undefined) return unchecked('the frame carries none', false);
  const password = passwordOf(direction, known);
  if (!Buffer.isBuffer(password)) return password;
  const { imei, imsi, baseKey } = known;
  if (imei === undefined || imsi === undefined) return unchecked('IMEI and IMSI are not given', true);
  const timestamp = timestampUnder(message) ?? loggedInAt ?? known.timestamp;
  if (timestamp === undefined) {
    return unchecked("the timestamp of the LOGIN's answer is not known: give --timestamp", true);
  }
  const right = wmmpDigest(covered, { timestamp, imei, imsi, password });
  if (!equalInConstantTime(right, digest)) return { verdict: 'wrong', tried: [timestamp] };
  const shown = fields.baseKeyDigest;
  const isKey = baseKey && shown && equalInConstantTime(wmmpBaseKeyDigest(baseKey), shown);
  return { verdict: 'good', timestamp, baseKey: isKey };
}

/** Of a LOGIN and of its answer, which say it themselves. */
function timestampUnder({ command, isResponse, fixed }: WmmpMessage): number | undefined {
  if (command !== 'LOGIN') return undefined;
  return isResponse ? fixed.timestamp : LOGIN_TIMESTAMP;
}

/** What the digests of the frames behind this one stand under; undefined: it changes nothing. */
export function beginsSession({ command, isResponse, fixed }: WmmpMessage): number | undefined {
  const isAnswer = command === 'LOGIN' && isResponse;
  return isAnswer && isTakenAsOk(fixed.result) ? fixed.timestamp : undefined;
}
