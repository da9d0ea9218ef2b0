/** What can be wrong with a frame: a closed list, used by answers, logs, counters and `m2m inspect` alike. */
import type { ResultName } from './results';

interface FaultRow {
  readonly result: ResultName;
  readonly text: string;
}

const malformed = (text: string): FaultRow => ({ result: 'MALFORMED', text });

export const FAULTS = {
  'length-too-short': malformed('length is below the 28 bytes of a header'),
  'length-too-long': malformed('length is above the frame limit'),
  'version-unknown': { result: 'UNSUPPORTED_VERSION', text: 'version is not served' },
  'command-unknown': malformed('command is not one that a terminal may send'),
  'command-not-downlink': malformed('command is not one that a gateway may send'),
  'result-in-request': malformed('result must be 0 here'),
  'serial-invalid': malformed('serial must be 1 to 16 of A-Z a-z 0-9 . _ - and zeros behind it'),
  'suite-unknown': { result: 'UNSUPPORTED_SUITE', text: 'digest suite is not known' },
  'suite-unsigned': { result: 'UNSUPPORTED_SUITE', text: 'command must be signed' },
  'suite-on-unsigned': malformed('command is never signed: its suite must be 0'),
  'tlv-truncated': malformed('fewer than 4 bytes are left where a TLV must begin'),
  'tlv-overrun': malformed('TLV runs past the end of the frame'),
  'tag-unknown': malformed('tag is not known and not one that may be skipped'),
  'tag-twice': malformed('tag stands twice'),
  'tag-skippable-under-md5': malformed('tags that are skipped may not stand under suite 1'),
  'tag-not-here': malformed('tag does not belong to this command'),
  'tag-missing': malformed('tag is required by this command'),
  'tag-alone': malformed('tag may only come together with its companion'),
  'value-length': malformed('value has the wrong length'),
  'value-invalid': malformed('value is not permitted'),
  'body-too-short': malformed('frame ends within the fixed fields of its command'),
  'digest-missing': malformed('digest is missing'),
  'digest-not-last': malformed('digest must be the last TLV'),
  'digest-length': malformed('digest has not the size of its suite'),
  'digest-unsigned': malformed('digest under suite 0'),
  'frame-incomplete': malformed('frame ends before its length'),
  'dialect-changed': malformed('frame is of another dialect than the connection logged in with'),
  'serial-changed': malformed('frame names another serial than the connection logged in with'),
} as const satisfies Record<string, FaultRow>;

export type FaultName = keyof typeof FAULTS;

export class Fault {
  /**
   * @param offset where in the frame, in bytes from its first
   * @param subject the tag or value concerned, where it says more than the name does
   */
  constructor(
    readonly name: FaultName,
    readonly offset: number,
    readonly subject?: string,
  ) {}
}

export function fault(name: FaultName, offset: number, subject?: string): Fault {
  return new Fault(name, offset, subject);
}

export function isFault(value: unknown): value is Fault {
  return value instanceof Fault;
}

export function faultText(found: Fault): string {
  const subject = found.subject === undefined ? '' : `${found.subject}: `;
  return `offset ${found.offset}: ${subject}${FAULTS[found.name].text} (${found.name})`;
}
