/** A terminal that does not exist, to be checked in its place: unknown serials cost what wrong digests do. */
import { NO_CHANGES, type TerminalRecord } from '../model';

/**
 * @param random `size` unpredictable bytes; the decoy's password is known to nobody
 */
export function decoyRecord(random: (size: number) => Buffer): TerminalRecord {
  return {
    id: 0,
    serial: '',
    imei: '000000000000000',
    imsi: '000000000000000',
    status: 'active',
    leastLogin: 'wmmp3',
    uplinkPassword: random(16),
    downlinkPassword: random(16),
    baseKey: undefined,
    changes: NO_CHANGES,
    msisdn: undefined,
    packetsRevokedAt: 0,
    revision: 0,
  };
}
