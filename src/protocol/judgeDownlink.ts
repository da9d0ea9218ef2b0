/** The checks on the header of a frame that comes from the gateway: the other direction of judge.ts. */
import { commandName, commandRow } from './commands';
import { fault, type Fault } from './faults';
import type { HeaderJudge } from './framer';
import { HEADER_SIZE, RESPONSE_BIT, VERSION_4_0, WMMP_VERSIONS, type Header } from './header';
import { versionText } from './judge';
import { isSignedSuite, UNSIGNED } from './suites';
import { wmmpBody } from './wmmp/commands';

const AT = { length: 0, command: 2, version: 8, suite: 10, result: 11 } as const;

type Check = (header: Header) => Fault | undefined;

const DIALECTS: ReadonlyMap<number, Check> = new Map([
  [VERSION_4_0, judgeVersion4],
  ...WMMP_VERSIONS.map((version): [number, Check] => [version, judgeWmmp]),
]);

/**
 * The serial is not judged: an unsigned answer echoes it as it came, and a DISCONNECT may leave before one is known.
 *
 * @param limit largest frame in bytes that is taken
 * @param versions those that are taken; default: all that are known
 */
export function downlinkJudge(
  limit: number,
  versions: readonly number[] = [...DIALECTS.keys()],
): HeaderJudge {
  return (header) => {
    if (header.length < HEADER_SIZE) return fault('length-too-short', AT.length, String(header.length));
    if (header.length > limit) return fault('length-too-long', AT.length, String(header.length));
    const dialect = versions.includes(header.version) ? DIALECTS.get(header.version) : undefined;
    if (dialect === undefined) return fault('version-unknown', AT.version, versionText(header.version));
    return dialect(header);
  };
}

function judgeVersion4(header: Header): Fault | undefined {
  const isResponse = (header.command & RESPONSE_BIT) !== 0;
  if (!mayComeDown(header.command, isResponse)) return fault('command-not-downlink', AT.command);
  if (!isResponse && header.result !== 0) return fault('result-in-request', AT.result, String(header.result));
  return header.suite === UNSIGNED || isSignedSuite(header.suite)
    ? undefined
    : fault('suite-unknown', AT.suite, String(header.suite));
}

/** Security byte and reserved byte are not judged: stacks differ in them (docs/wmmp.md, "Frame"). */
function judgeWmmp(header: Header): Fault | undefined {
  return wmmpBody(header.command, 'down') === undefined
    ? fault('command-not-downlink', AT.command)
    : undefined;
}

/** Downlink requests, and responses to uplink ones. */
function mayComeDown(command: number, isResponse: boolean): boolean {
  const name = commandName(command);
  if (name === undefined) return false;
  return commandRow(name).direction === (isResponse ? 'uplink' : 'downlink');
}
