/** What a change of credentials may replace: the bits of CHANGE_TARGETS. */
export const CHANGE_TARGETS = { uplink: 1, downlink: 2, base_key: 4 } as const;

export type ChangeTarget = keyof typeof CHANGE_TARGETS;

const NAMES = Object.keys(CHANGE_TARGETS) as ChangeTarget[];

/** The targets of a bit mask, lowest bit first. */
export function targetNames(mask: number): ChangeTarget[] {
  return NAMES.filter((name) => (mask & CHANGE_TARGETS[name]) !== 0);
}
