/**
 * The terminals of a load test. Who the n-th one is follows from a seed and its number alone, so that a second run
 * against the same database finds them there.
 */
import { createHmac } from 'node:crypto';
import type { SignedSuite } from '../../protocol/suites';
import { NO_SPARES, type DeviceState } from '../state';

/** What the numbers of terminals may reach: they are seven digits of the serial. */
export const MOST_TERMINALS = 9_999_999;

const SECRET_SIZE = 16;

/**
 * @param index from 0
 * @returns serial `BENCH-0000001` and on, an IMEI of the test range (00 1…) with its Luhn digit, an IMSI of the test
 *   network 001-01, passwords and base key of 16 bytes each
 */
export function benchTerminal(seed: string, index: number, suite: SignedSuite): DeviceState {
  const serial = benchSerial(index);
  const secret = (what: string): Buffer =>
    createHmac('sha256', seed).update(`${what} ${serial}`).digest().subarray(0, SECRET_SIZE);
  return {
    serial,
    imei: withLuhn(`001${String(index).padStart(11, '0')}`),
    imsi: `00101${String(index).padStart(10, '0')}`,
    uplinkPassword: secret('uplink'),
    downlinkPassword: secret('downlink'),
    baseKey: secret('base key'),
    suite,
    nextSequence: 0,
    clockOffset: 0,
    spares: NO_SPARES,
  };
}

export function benchSerial(index: number): string {
  return `BENCH-${String(index + 1).padStart(7, '0')}`;
}

/** A terminal that always signs with a password that is not its own. */
export function withWrongPassword(device: DeviceState): DeviceState {
  return { ...device, uplinkPassword: Buffer.alloc(SECRET_SIZE) };
}

/** Whether the n-th terminal is one of the `percent` whose password is wrong; they stand evenly among the others. */
export function isWrong(index: number, percent: number): boolean {
  return Math.floor(((index + 1) * percent) / 100) > Math.floor((index * percent) / 100);
}

/** ISO/IEC 7812-1, annex B: every second digit counted from the right is doubled. */
function withLuhn(digits: string): string {
  const sum = [...digits].reduce((total, digit, i) => {
    const value = Number(digit) * ((digits.length - i) % 2 === 1 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return digits + String((10 - (sum % 10)) % 10);
}
