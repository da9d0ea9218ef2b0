/** A frame field by field, for people (a table) and for programs (a plain object). Never throws, whatever the bytes. */
import { commandName, commandRow } from '../protocol/commands';
import { decode } from '../protocol/decode';
import { fault, isFault, type Fault } from '../protocol/faults';
import {
  HEADER_SIZE,
  isWmmp,
  LARGEST_FRAME,
  readHeader,
  RESPONSE_BIT,
  VERSION_4_0,
  type ReadHeader,
} from '../protocol/header';
import { headerJudge, versionText } from '../protocol/judge';
import { downlinkJudge } from '../protocol/judgeDownlink';
import { resultName } from '../protocol/results';
import { fieldOf, rowOf } from '../protocol/tags';
import { hexTag } from '../protocol/tlv';
import { wmmpCommandName, wmmpCommandRow } from '../protocol/wmmp/commands';
import { describeTlvs, firstTlvFault, readableTlvs } from './describeTlvs';
import type { DescribedFrame, Direction } from './frameTable';
import { describeWmmp, judgeWmmp, wmmpTlvStart } from './wmmp/describe';

export interface Description {
  /** What could be read; absent where not even a header is there. */
  readonly frame: DescribedFrame | undefined;
  /** What is wrong with it as a frame of its dialect. */
  readonly fault: Fault | undefined;
}

/** What describing and judging leave to the dialect. */
interface Dialect {
  /** Who makes requests of this command; undefined where it is not known. */
  readonly asker: (command: number) => 'uplink' | 'downlink' | undefined;
  readonly describe: (
    header: ReadHeader,
    bytes: Buffer,
    way: Direction,
    showSecrets: boolean,
  ) => DescribedFrame;
  /** Where the TLVs begin; undefined where that is not known. */
  readonly tlvStart: (header: ReadHeader, way: Direction) => number | undefined;
  /** @param bytes of a whole frame, whose header has been judged */
  readonly judge: (header: ReadHeader, bytes: Buffer, way: Direction) => Fault | undefined;
}

const VERSION_4: Dialect = {
  asker: (command) => {
    const name = commandName(command);
    return name && commandRow(name).direction;
  },
  describe: describeVersion4,
  tlvStart: () => HEADER_SIZE,
  judge: (header, bytes) => {
    const decoded = decode(header, bytes);
    return isFault(decoded) ? decoded : undefined;
  },
};
const WMMP: Dialect = {
  asker: (command) => {
    const name = wmmpCommandName(command);
    return name && wmmpCommandRow(name).direction;
  },
  describe: describeWmmp,
  tlvStart: wmmpTlvStart,
  judge: judgeWmmp,
};

/**
 * Describes one frame, whole or cut short, right or wrong.
 *
 * @param showSecrets true only for who owns the terminal's secrets; otherwise they show as their size
 * @param direction where it is known; otherwise guessed from command and response bit
 */
export function describe(bytes: Buffer, showSecrets: boolean, direction?: Direction): Description {
  if (bytes.length < HEADER_SIZE) return { frame: undefined, fault: fault('frame-incomplete', bytes.length) };
  const header = readHeader(bytes);
  const dialect = isWmmp(header.version) ? WMMP : VERSION_4;
  const way = direction ?? guessDirection(dialect, header);
  const frame = dialect.describe(header, bytes, way, showSecrets);
  return { frame, fault: findFault(dialect, header, bytes, way) };
}

const JUDGES = { up: headerJudge(LARGEST_FRAME), down: downlinkJudge(LARGEST_FRAME) } as const;

function findFault(dialect: Dialect, header: ReadHeader, bytes: Buffer, way: Direction): Fault | undefined {
  const judged = JUDGES[way](header);
  if (judged !== undefined) return judged;
  if (bytes.length >= header.length) return dialect.judge(header, bytes.subarray(0, header.length), way);
  const start = dialect.tlvStart(header, way);
  const before = start === undefined ? undefined : firstTlvFault(header, bytes, start);
  return before ?? fault('frame-incomplete', bytes.length);
}

/** Requests that only the gateway makes, and answers to those that only terminals make, go down. */
function guessDirection({ asker }: Dialect, { command }: ReadHeader): Direction {
  const terminalAsks = asker(command) !== 'downlink';
  return terminalAsks === ((command & RESPONSE_BIT) === 0) ? 'up' : 'down';
}

function describeVersion4(
  header: ReadHeader,
  bytes: Buffer,
  direction: Direction,
  showSecrets: boolean,
): DescribedFrame {
  const response = (header.command & RESPONSE_BIT) !== 0;
  const name = header.version === VERSION_4_0 ? commandName(header.command) : undefined;
  return {
    direction,
    length: header.length,
    command: name ?? hexTag(header.command),
    response,
    sequence: header.sequence,
    version: versionText(header.version),
    suite: header.suite,
    result: (response ? resultName(header.result) : undefined) ?? header.result,
    serial: header.serialText ?? header.serial.toString('hex'),
    tlvs: describeTlvs(readableTlvs(header, bytes, HEADER_SIZE), namedInVersion4, showSecrets),
  };
}

function namedInVersion4(tag: number) {
  const name = fieldOf(tag);
  return name && { name, row: rowOf(name) };
}
