/**
 * What a terminal's frames must never be taken for twice (docs/protocol.md, "Sessions").
 *
 * An entry is a UUID-shaped text of 16 bytes: timestamp under the digest (4) | first bytes of the digest (12). It
 * follows from the frame alone, so every gateway makes the same one, and entries sort by age. They are kept in the
 * terminal's own session row while their timestamp could still be accepted; nothing is ever deleted row by row.
 */

/** More logins than this within one window are THROTTLED. */
export const LOGINS_KEPT = 64;
/** Every session asks for logout once at most, so this leaves 64 and more to the other requests. */
export const REQUESTS_KEPT = 128;

/** Implicit timestamps are good for their own minute, the one before and the one after. */
const IMPLICIT_WINDOW = 120;
/** Gateways' clocks may differ by this much before one could forget what another would still accept. */
const CLOCK_MARGIN = 30;

const DIGEST_BYTES = 12;

export function replayEntry(timestamp: number, digest: Buffer): string {
  const time = timestamp.toString(16).padStart(8, '0');
  return asUuid(time + digest.toString('hex', 0, DIGEST_BYTES));
}

/**
 * For a frame of WMMP 3.0, which carries nothing that could be told apart from a replay: an entry unlike any other,
 * older than anything that is kept.
 */
export function unrememberedEntry(random: (size: number) => Buffer): string {
  return replayEntry(0, random(DIGEST_BYTES));
}

/** The least entry that still has to be kept. @param now milliseconds since the epoch */
export function replayCutoff(now: number, timestampWindow: number): string {
  const oldest = Math.max(0, Math.floor(now / 1000) - keptFor(timestampWindow));
  return asUuid(oldest.toString(16).padStart(8, '0').padEnd(32, '0'));
}

/** Whether an entry may be added to those taken: `new`, `taken` before, or `full`. */
export function judgeReplay(
  taken: readonly string[],
  entry: string,
  cutoff: string,
  kept: number,
): 'new' | 'taken' | 'full' {
  if (taken.includes(entry)) return 'taken';
  return taken.filter((one) => one >= cutoff).length >= kept ? 'full' : 'new';
}

/** Milliseconds until the oldest entry has gone and there is room again. */
export function roomAfter(taken: readonly string[], now: number, timestampWindow: number): number {
  const cutoff = replayCutoff(now, timestampWindow);
  const kept = taken.filter((one) => one >= cutoff).sort();
  const oldest = kept[0];
  if (oldest === undefined) return 0;
  const leaves = (parseInt(oldest.slice(0, 8), 16) + keptFor(timestampWindow) + 1) * 1000;
  return Math.max(1000, leaves - now);
}

function keptFor(timestampWindow: number): number {
  return Math.max(timestampWindow, IMPLICIT_WINDOW) + CLOCK_MARGIN;
}

function asUuid(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
