/** What stands between a LOGIN that was answered well and the end of its connection, or a LOGOUT. */
import type { DeviceState } from '../state';

/** Lives in memory only. */
export interface WmmpSession {
  readonly kind: 'session';
  /** As it logged in. */
  readonly device: DeviceState;
  /** Unix seconds, as the LOGIN's answer had them: under every digest from here on. */
  readonly timestamp: number;
  /** 24 bytes, where one was asked for. */
  readonly key: Buffer | undefined;
}
