/**
 * What becomes of new secrets in WMMP 3.0 (docs/wmmp.md, "Change of credentials"): kept aside until a login under
 * them has been answered well, and dropped wherever that does not come about, a power cut included.
 */
import type { Aside, DeviceState } from '../state';

/** Stored before SECURITY_CONFIG is acknowledged. */
export function withAside(state: DeviceState, aside: Aside): DeviceState {
  return { ...state, aside };
}

export function withoutAside(state: DeviceState): DeviceState {
  return { ...state, aside: undefined };
}

/** The device with what was aside as its own: first to make a login with, then, once that is proven, for good. */
export function swapped(state: DeviceState): DeviceState {
  const { aside = {} } = state;
  return {
    ...state,
    uplinkPassword: aside.uplinkPassword ?? state.uplinkPassword,
    downlinkPassword: aside.downlinkPassword ?? state.downlinkPassword,
    baseKey: aside.baseKey ?? state.baseKey,
    aside: undefined,
  };
}
