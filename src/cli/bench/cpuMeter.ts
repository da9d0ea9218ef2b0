/** Seconds of processor time of generator, gateway and PostgreSQL while a run counts: signing and warm-up are none of it. Of a ramp: its last row. */
import { cpuSeconds, type CpuSeconds } from './machine';
import { round } from './results';

export interface CpuShares {
  readonly generator: number;
  readonly gateway?: number;
  readonly postgres?: number;
  /** Processors that the generator kept busy. */
  readonly processors: number;
}

interface Reading {
  readonly at: number;
  readonly own: NodeJS.CpuUsage;
  readonly theirs: CpuSeconds | undefined;
}

export class CpuMeter {
  private begun: Reading;

  /** @param gatewayPid undefined: it is not ours to look at */
  constructor(private readonly gatewayPid: number | undefined) {
    this.begun = this.read();
  }

  /** What was before does not count. */
  start(): void {
    this.begun = this.read();
  }

  since(): CpuShares {
    const { at, own, theirs } = this.begun;
    const now = this.read();
    const micros = (usage: NodeJS.CpuUsage): number => usage.user + usage.system;
    const generator = (micros(now.own) - micros(own)) / 1e6;
    return {
      generator: round(generator, 2),
      processors: round((generator * 1000) / (now.at - at), 2),
      ...(theirs &&
        now.theirs && {
          gateway: round(now.theirs.gateway - theirs.gateway, 2),
          postgres: round(now.theirs.postgres - theirs.postgres, 2),
        }),
    };
  }

  private read(): Reading {
    const { gatewayPid } = this;
    return {
      at: performance.now(),
      own: process.cpuUsage(),
      theirs: gatewayPid === undefined ? undefined : cpuSeconds(gatewayPid),
    };
  }
}
