/** The checks on a header alone, in the order of docs/protocol.md, "Order of checks". */
import { commandName, commandRow, type CommandRow } from './commands';
import { fault, type Fault } from './faults';
import type { HeaderJudge } from './framer';
import { HEADER_SIZE, RESPONSE_BIT, VERSION_4_0, WMMP_VERSIONS, type ReadHeader } from './header';
import { isSignedSuite, UNSIGNED } from './suites';
import { WMMP_COMMANDS, wmmpBody } from './wmmp/commands';

/** Offsets of the header's fields, for faults. */
const AT = { length: 0, command: 2, version: 8, suite: 10, result: 11, serial: 12 } as const;

type Check = (header: ReadHeader) => Fault | undefined;

/** The judge of a dialect's headers once length and version are known to be good. */
const DIALECTS: ReadonlyMap<number, Check> = new Map([
  [VERSION_4_0, judgeVersion4],
  ...WMMP_VERSIONS.map((version): [number, Check] => [version, judgeWmmp]),
]);

/** @param limit largest frame in bytes that is taken */
export function headerJudge(limit: number): HeaderJudge {
  return (header) => {
    if (header.length < HEADER_SIZE) return fault('length-too-short', AT.length, String(header.length));
    if (header.length > limit) return fault('length-too-long', AT.length, String(header.length));
    const dialect = DIALECTS.get(header.version);
    if (dialect === undefined) return fault('version-unknown', AT.version, versionText(header.version));
    return dialect(header);
  };
}

/** `4.0` for 0x0400, as logs and metrics name a version. */
export function versionText(version: number): string {
  return `${version >> 8}.${version & 0xff}`;
}

function judgeVersion4(header: ReadHeader): Fault | undefined {
  const row = uplinkRow(header.command);
  if (row === undefined) return fault('command-unknown', AT.command);
  if (header.result !== 0) return fault('result-in-request', AT.result, String(header.result));
  if (header.serialText === undefined) return fault('serial-invalid', AT.serial);
  return judgeSuite(header.suite, row);
}

/** Security byte and reserved byte are not judged: stacks differ in them (docs/wmmp.md, "Frame"). */
function judgeWmmp(header: ReadHeader): Fault | undefined {
  if (wmmpBody(header.command, 'up') === undefined) return fault('command-unknown', AT.command);
  // Who registers has no serial yet.
  if (header.command === WMMP_COMMANDS.REGISTER.code) return undefined;
  return header.serialText === undefined ? fault('serial-invalid', AT.serial) : undefined;
}

/** What a terminal may send: uplink requests, and responses to downlink requests that have one. */
function uplinkRow(command: number): CommandRow | undefined {
  const name = commandName(command);
  if (name === undefined) return undefined;
  const row = commandRow(name);
  const isResponse = (command & RESPONSE_BIT) !== 0;
  if (isResponse) return row.direction === 'downlink' && row.response !== undefined ? row : undefined;
  return row.direction === 'uplink' ? row : undefined;
}

function judgeSuite(suite: number, row: CommandRow): Fault | undefined {
  if (isSignedSuite(suite)) return undefined;
  if (suite !== UNSIGNED) return fault('suite-unknown', AT.suite, String(suite));
  return row.signed === 'yes' ? fault('suite-unsigned', AT.suite) : undefined;
}
