/** A described frame, and how people see it: one line a field, columns offset, tag, name, length and value. */
import { targetNames } from '../protocol/changeTargets';
import { disconnectReasonName } from '../protocol/commands';
import { isSignedSuite, SUITES, UNSIGNED } from '../protocol/suites';
import { isSkippable } from '../protocol/tags';
import { ABOUT_TO_SWAP } from '../protocol/wmmp/commands';
import { NEVER } from '../protocol/wmmp/tags';

export type Direction = 'up' | 'down';

export interface DescribedTlv {
  /** Of its first byte, from the beginning of the frame. */
  readonly offset: number;
  readonly tag: string;
  /** As the protocol spells it; null where it knows no such tag. */
  readonly name: string | null;
  /** Of the value, in bytes. */
  readonly length: number;
  /** Bytes as hexadecimal; null for a secret that is not shown. */
  readonly value: string | number | true | null;
  readonly secret: boolean;
}

/** One that stands in its place without a tag. */
export interface DescribedField {
  readonly offset: number;
  readonly name: string;
  readonly length: number;
  readonly value: string | number;
}

interface DescribedHeader {
  readonly direction: Direction;
  readonly length: number;
  readonly command: string;
  readonly response: boolean;
  readonly sequence: number;
  readonly version: string;
  /** As hexadecimal where it is no serial. */
  readonly serial: string;
}

/** Of version 4.0, or of one that is not known. */
export interface DescribedVersion4 extends DescribedHeader {
  readonly suite: number;
  readonly result: string | number;
  readonly tlvs: readonly DescribedTlv[];
}

export interface DescribedWmmp extends DescribedHeader {
  /** `WMMP 3.0`, `WMMP 3.1` */
  readonly dialect: string;
  readonly security: number;
  readonly reserved: number;
  readonly fixed: readonly DescribedField[];
  readonly tlvs: readonly DescribedTlv[];
}

export type DescribedFrame = DescribedVersion4 | DescribedWmmp;

export function frameTable(frame: DescribedFrame, indent = '  '): string {
  const rows = [
    ['offset', 'tag', 'name', 'length', 'value'],
    ...headerRows(frame).map(([offset, name, size, value]) => [offset, '', name, size, value]),
    ...fixedRows(frame),
    ...frame.tlvs.map((tlv) => [
      String(tlv.offset),
      tlv.tag,
      tlv.name ?? unknownName(frame, tlv),
      String(tlv.length),
      valueText(tlv),
    ]),
  ];
  return columns(rows, indent);
}

type HeaderRow = [offset: string, name: string, size: string, value: string];

function headerRows(frame: DescribedFrame): HeaderRow[] {
  return [
    ['0', 'length', '2', String(frame.length)],
    ['2', 'command', '2', frame.response ? `${frame.command}, response` : frame.command],
    ['4', 'sequence', '4', String(frame.sequence)],
    ['8', 'version', '2', frame.version],
    ...dialectRows(frame),
    ['12', 'serial', '16', frame.serial],
  ];
}

/** The two bytes that the dialects read in different ways. */
function dialectRows(frame: DescribedFrame): HeaderRow[] {
  if (!('dialect' in frame)) {
    return [
      ['10', 'suite', '1', suiteText(frame.suite)],
      ['11', 'result', '1', String(frame.result)],
    ];
  }
  return [
    ['10', 'security', '1', `0x${frame.security.toString(16).padStart(2, '0')}`],
    ['11', 'reserved', '1', String(frame.reserved)],
  ];
}

function suiteText(suite: number): string {
  if (isSignedSuite(suite)) return `${suite} (${SUITES[suite].name})`;
  return suite === UNSIGNED ? '0 (unsigned)' : String(suite);
}

function fixedRows(frame: DescribedFrame): string[][] {
  if (!('dialect' in frame)) return [];
  return frame.fixed.map((field) => [
    String(field.offset),
    '',
    field.name,
    String(field.length),
    valueText(field),
  ]);
}

function unknownName(frame: DescribedFrame, { tag }: DescribedTlv): string {
  return 'dialect' in frame || isSkippable(Number(tag)) ? '(skipped)' : '(unknown)';
}

const UNITS: Readonly<Record<string, string>> = {
  SESSION_TTL: 's',
  HEARTBEAT_INTERVAL: 's',
  RETRY_AFTER: 'ms',
};

const DELIVERIES = ['the platform decides', 'ciphertext', 'SMS', 'SMS in plain'];

function valueText({ name, value, length }: Pick<DescribedTlv, 'name' | 'value' | 'length'>): string {
  if (value === null) return `(secret of ${length} bytes)`;
  if (value === true) return '';
  if (typeof value === 'string') return value;
  const unit = name === null ? undefined : UNITS[name];
  if (unit !== undefined) return `${value} ${unit}`;
  const meaning = name === null ? undefined : meaningOf(name, value);
  return meaning === undefined ? String(value) : `${value} (${meaning})`;
}

function meaningOf(name: string, value: number): string | undefined {
  if (name.endsWith('_EXPIRY')) return value === NEVER ? 'never' : timeText(value);
  switch (name) {
    case 'TIMESTAMP':
      return timeText(value);
    case 'CHANGE_TARGETS':
      return targetNames(value).join(', ');
    case 'CHANGE_DELIVERY':
      return DELIVERIES[value];
    case 'DISCONNECT_REASON':
      return disconnectReasonName(value);
    case 'REASON':
      return value === ABOUT_TO_SWAP ? 'a login under new credentials follows' : undefined;
    default:
      return undefined;
  }
}

/** @param seconds Unix seconds */
export function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000', '');
}

function columns(rows: readonly (readonly string[])[], indent: string): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return rows.map((row) => `${indent}${line(row)}`.trimEnd()).join('\n');
}
