/** Parsers for option values. Commander turns what they throw into a line that names the option. */
import { InvalidArgumentError } from 'commander';
import { CHANGE_TARGETS, type ChangeTarget } from '../protocol/changeTargets';
import { serialBytes } from '../protocol/header';
import { isSignedSuite, type SignedSuite } from '../protocol/suites';
import type { Where } from '../terminal/connection';

/** A secret as `\x…` hexadecimal, or the bytes of a text. */
function secretBytes(text: string): Buffer {
  if (!text.startsWith('\\x')) return Buffer.from(text, 'utf8');
  const digits = text.slice(2);
  if (!/^([0-9a-fA-F]{2})*$/.test(digits)) {
    throw new InvalidArgumentError('After \\x an even number of hexadecimal digits must stand.');
  }
  return Buffer.from(digits, 'hex');
}

export function passwordValue(text: string): Buffer {
  const bytes = secretBytes(text);
  if (bytes.length >= 1 && bytes.length <= 64) return bytes;
  throw new InvalidArgumentError(`It must have 1 to 64 bytes, not ${bytes.length}.`);
}

export function baseKeyValue(text: string): Buffer {
  const bytes = secretBytes(text);
  if ([16, 24, 32].includes(bytes.length)) return bytes;
  throw new InvalidArgumentError(`It must have 16, 24 or 32 bytes, not ${bytes.length}.`);
}

export function serialValue(text: string): string {
  try {
    serialBytes(text);
    return text;
  } catch {
    throw new InvalidArgumentError('It must be 1 to 16 of A-Z a-z 0-9 . _ -');
  }
}

const pattern = (wanted: RegExp, says: string) => (text: string) => {
  if (wanted.test(text)) return text;
  throw new InvalidArgumentError(says);
};

export const imeiValue = pattern(/^[0-9]{15}$/, 'It must be 15 digits.');
export const imsiValue = pattern(/^[0-9]{6,15}$/, 'It must be 6 to 15 digits.');
export const firmwareValue = pattern(
  /^[\x20-\x7e]{1,64}$/,
  'It must be 1 to 64 characters of printable ASCII.',
);

export function suiteValue(text: string): SignedSuite {
  const suite = Number(text);
  if (isSignedSuite(suite)) return suite;
  throw new InvalidArgumentError('It must be 1 (MD5) or 2 (HMAC-SHA-256).');
}

/** A number of seconds above 0; fractions are allowed. */
export function secondsValue(text: string): number {
  const seconds = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : 0;
  // Longer than this a Node.js timer fires at once.
  if (seconds > 0 && seconds <= 2_147_483) return seconds;
  throw new InvalidArgumentError('It must be a number of seconds above 0.');
}

export function packetValue(text: string): Buffer {
  if (/^([0-9a-f]{2}){33,1024}$/i.test(text)) return Buffer.from(text, 'hex');
  throw new InvalidArgumentError('It must be 33 to 1024 bytes in hexadecimal.');
}

export function hardwareIdValue(text: string): Buffer {
  const bytes = secretBytes(text);
  if (bytes.length >= 1 && bytes.length <= 64) return bytes;
  throw new InvalidArgumentError(`It must have 1 to 64 bytes, not ${bytes.length}.`);
}

/** Unix seconds, or a date as ISO 8601. */
export function timeValue(text: string): number {
  const seconds = /^[0-9]+$/.test(text) ? Number(text) : Math.floor(Date.parse(text) / 1000);
  if (seconds >= 0 && seconds <= 0xffffffff) return seconds;
  throw new InvalidArgumentError('It must be Unix seconds or a date such as 2026-11-22T05:00:00Z.');
}

/** `host:port` or `[address]:port`. */
export function whereValue(text: string): Where {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  const host = found?.[1] ?? found?.[2];
  if (host !== undefined && port >= 1 && port <= 65535) return { host, port };
  throw new InvalidArgumentError('It must be HOST:PORT.');
}

/** Names of targets, separated by commas, or `all`; a bit mask. */
export function targetsValue(text: string): number {
  const names = text === 'all' ? Object.keys(CHANGE_TARGETS) : text.split(',');
  const wrong = names.find((name) => !Object.hasOwn(CHANGE_TARGETS, name));
  if (wrong === undefined)
    return names.reduce((mask, name) => mask | CHANGE_TARGETS[name as ChangeTarget], 0);
  throw new InvalidArgumentError('It must be all, or some of uplink,downlink,base_key.');
}
